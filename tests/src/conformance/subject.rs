//! The runtime under test, and the place where it is tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bundle::busybox_rootfs;

/// What the machine and the caller's rights allow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Place {
    /// `/sys/fs/cgroup` is cgroup v2.
    pub v2: bool,
    /// The runtime is told to ask systemd for cgroups.
    pub systemd: bool,
    /// The caller is an ordinary user.
    pub rootless: bool,
    /// Major and minor number of the kernel.
    pub kernel: (u32, u32),
}

impl Place {
    /// Looks at the machine and the caller.
    pub fn find(systemd: bool) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release
            .split(['.', '-'])
            .map(|number| number.trim().parse().unwrap_or(0));
        Self {
            v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            systemd,
            rootless: !rustix::process::geteuid().is_root(),
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        }
    }
}

/// The runtime under test.
pub struct Subject {
    /// Its program.
    pub runtime: PathBuf,
    /// Its name, as `--version` begins: known differences go by it.
    pub name: String,
    /// Flags of every call.
    pub flags: Vec<String>,
    /// Where it is tested.
    pub place: Place,
    /// Where its state is kept (`--root`).
    pub state: PathBuf,
    /// A busybox, to link into root filesystems.
    pub skeleton: PathBuf,
    /// Everything of this run is below it, and its last component is in the name of every container and cgroup.
    pub base: tempfile::TempDir,
    counter: AtomicU32,
}

impl Subject {
    /// Makes the directories of a run. `flags` are the runtime's own, such as `--systemd-cgroup`.
    ///
    /// # Panics
    /// When the runtime's program can't be run, or the directories can't be made.
    pub fn new(runtime: &Path, flags: &[String]) -> Self {
        let version = Command::new(runtime)
            .arg("--version")
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", runtime.display()));
        let version = String::from_utf8_lossy(&version.stdout);
        let name = version.split_whitespace().next().unwrap_or_default().to_owned();
        let base = tempfile::Builder::new().prefix("conf-").tempdir().unwrap();
        // A container of a user namespace reaches its root filesystem as somebody else.
        open_for_all(base.path());
        let skeleton = base.path().join("skeleton");
        busybox_rootfs(&skeleton);
        Self {
            runtime: runtime.to_owned(),
            name,
            flags: flags.to_vec(),
            place: Place::find(flags.iter().any(|flag| flag == "--systemd-cgroup")),
            state: base.path().join("state"),
            skeleton,
            base,
            counter: AtomicU32::new(0),
        }
    }

    /// A number that no other container of this run has.
    pub fn number(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// What is in the names of all that this run makes, and in nothing else's.
    pub fn mark(&self) -> String {
        let name = self.base.path().file_name().unwrap_or_default();
        name.to_string_lossy().replace('.', "")
    }

    /// The runtime's command with its flags, but for the state directory.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(&self.runtime);
        command.args(&self.flags);
        command
    }
}

impl Drop for Subject {
    /// The cgroup above those of the containers is the suite's own, in each hierarchy.
    fn drop(&mut self) {
        let mark = self.mark();
        let mut tops = vec![PathBuf::from("/sys/fs/cgroup")];
        tops.extend(
            fs::read_dir("/sys/fs/cgroup")
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        for top in tops.iter().map(|top| top.join(&mark)).filter(|top| top.is_dir()) {
            remove_tree(&top);
        }
    }
}

/// Removes a directory of cgroups from the bottom. One that has a process in it stays, to be found by who looks for what is left.
fn remove_tree(top: &Path) {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(top);
}

/// Gives everybody the right to pass through a directory.
pub(crate) fn open_for_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}
