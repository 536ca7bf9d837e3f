//! What must be the same after a test as before: mounts, cgroups, network namespaces, links, firewall rules, processes, temp files.
//!
//! A [`Snapshot`] is taken before, and [`Snapshot::assert_unchanged`] afterwards. Tests run beside one another, so a snapshot looks only at what
//! carries the test's own mark: a string (a private directory, an id prefix, a bridge name) that occurs in the names of all that the test makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The things that carry a mark, one line each, such as `mount /tmp/x/rootfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    mark: String,
    things: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at the machine now. `mark` must be specific to one test.
    pub fn take(mark: &str) -> Self {
        assert!(mark.len() >= 4, "{mark:?} would match what others made");
        Self {
            mark: mark.to_owned(),
            things: look(mark),
        }
    }

    /// Fails unless the machine comes back, within `patience`, to what it was: reaping and lazy unmounts take a moment.
    ///
    /// # Panics
    /// With a list of what is left behind (`+`) or missing (`-`).
    pub fn assert_unchanged(&self, patience: Duration) {
        let end = Instant::now() + patience;
        loop {
            let now = look(&self.mark);
            if now == self.things {
                return;
            }
            if Instant::now() > end {
                let more = now.difference(&self.things).map(|thing| format!("+ {thing}"));
                let less = self.things.difference(&now).map(|thing| format!("- {thing}"));
                panic!("left behind:\n{}", more.chain(less).collect::<Vec<_>>().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn look(mark: &str) -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    things.extend(mounts.lines().filter(|line| line.contains(mark)).map(|line| {
        let mut fields = line.split(' ').skip(3);
        format!(
            "mount {} at {}",
            fields.next().unwrap_or(""),
            fields.next().unwrap_or("")
        )
    }));
    cgroups(Path::new("/sys/fs/cgroup"), mark, &mut things);
    for directory in [
        "/run/netns",
        "/run/docker/netns",
        "/run/containerd",
        "/run/runc",
        "/tmp",
    ] {
        entries(Path::new(directory), mark, &mut things);
    }
    let links = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = links
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim());
    things.extend(
        names
            .filter(|name| name.contains(mark))
            .map(|name| format!("link {name}")),
    );
    processes(mark, &mut things);
    things
}

fn cgroups(directory: &Path, mark: &str, things: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(mark) {
                things.insert(format!("cgroup {}", path.display()));
            }
            cgroups(&path, mark, things);
        }
    }
}

fn entries(directory: &Path, mark: &str, things: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let names = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(mark));
    things.extend(names.map(|entry| format!("file {}", entry.path().display())));
}

/// Processes whose command line carries the mark, but for this one; zombies have no command line.
fn processes(mark: &str, things: &mut BTreeSet<String>) {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) {
            things.insert(format!("process {pid} {line}"));
        }
    }
}
