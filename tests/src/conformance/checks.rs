//! The functions that look: containers are made, and asked.

pub mod bundle;
pub mod cgroups;
pub mod devices;
pub mod errors;
pub mod features;
pub mod hooks;
pub mod lifecycle;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod notify;
pub mod options;
pub mod paths;
pub mod process;
pub mod resources;
pub mod seccomp;
pub mod state;
pub mod terminal;
pub mod values;

use std::path::Path;

/// The value behind `name:` or `name ` at the beginning of a line, without the white space around it.
pub(crate) fn field<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map_or("", |rest| rest.trim_start_matches(':').trim())
}

/// What a namespace link of a process says, such as `mnt:[4026531841]`.
pub(crate) fn namespace(pid: impl std::fmt::Display, kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    link.map_or_else(|error| error.to_string(), |path| path.display().to_string())
}

/// The lines of the machine's mount table that name a path below `directory`.
pub(crate) fn mounts_below(directory: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let name = directory.display().to_string();
    table
        .lines()
        .filter(|line| line.contains(&name))
        .map(str::to_owned)
        .collect()
}

/// Whether a path is of a cgroup filesystem, by `statfs(2)`: the numbers are of `linux/magic.h`.
fn is_hierarchy(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|seen| matches!(seen.f_type, 0x0027_e0eb | 0x6367_7270))
}

/// The cgroup directories of the machine whose name is `name`.
pub(crate) fn cgroups_named(name: &str) -> Vec<String> {
    fn look(directory: &Path, name: &str, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(name) {
                    found.push(entry.path().display().to_string());
                }
                look(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new("/sys/fs/cgroup");
    let mounts = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    // Not what only lies below the mounts: a runtime may leave plain directories where a hierarchy is not mounted.
    for hierarchy in mounts.chain([root.to_owned()]).filter(|path| is_hierarchy(path)) {
        look(&hierarchy, name, &mut found);
    }
    found.sort();
    found.dedup();
    found
}
