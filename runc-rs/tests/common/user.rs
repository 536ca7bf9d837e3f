//! An ordinary user of a test's own, known only in a mount namespace of each command: the machine's `/etc` is not changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ids far from what distributions hand out.
const FIRST: u32 = 1_500_000_000;
const FIRST_RANGE: u32 = 2_000_000_000;
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Puts the private files in place, then becomes the user: FILES UID GROUPS PROGRAM COMMAND...
const WRAPPER: &str = r#"
set -e
files=$1 uid=$2 groups=$3 program=$4
shift 4
for file in passwd group subuid subgid; do mount --bind "$files/$file" "/etc/$file"; done
mount --bind "$program" "$files/program"
exec setpriv --reuid "$uid" --regid "$uid" $groups "$@"
"#;

/// An ordinary user. Its group has the same number.
pub struct User {
    pub uid: u32,
    /// The first of the further ids that are the user's, by `/etc/subuid` and `/etc/subgid`.
    pub range: u32,
    /// Further groups of the user.
    pub groups: Vec<u32>,
    /// Variables of the user's commands beside `PATH`, `HOME` and `XDG_RUNTIME_DIR`.
    pub env: Vec<(String, String)>,
    files: tempfile::TempDir,
}

impl User {
    /// How many further ids the user has.
    pub const RANGE: u32 = 2048;

    pub fn new() -> Self {
        // Nobody else's, as long as a process has no more than 64 of them at once.
        let slot = (std::process::id() % 16384) * 64 + COUNTER.fetch_add(1, Ordering::Relaxed) % 64;
        let (uid, range) = (FIRST + slot, FIRST_RANGE + slot * Self::RANGE);
        let files = tempfile::Builder::new().prefix("runcrs-user-").tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = files.path().join("home");
        let runtime = files.path().join("run");
        for directory in [&home, &runtime] {
            fs::create_dir(directory).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
            chown(directory, Some(uid), Some(uid)).unwrap();
        }
        let write = |name: &str, text: String| fs::write(files.path().join(name), text).unwrap();
        write(
            "passwd",
            format!(
                "root:x:0:0::/root:/bin/sh\ntester:x:{uid}:{uid}::{}:/bin/sh\n",
                home.display()
            ),
        );
        write("group", format!("root:x:0:\ntester:x:{uid}:\n"));
        write("subuid", format!("tester:{range}:{}\n", Self::RANGE));
        write("subgid", format!("tester:{range}:{}\n", Self::RANGE));
        write("program", String::new());
        Self {
            uid,
            range,
            groups: Vec::new(),
            env: Vec::new(),
            files,
        }
    }

    /// `XDG_RUNTIME_DIR`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.files.path().join("run")
    }

    /// `runc-rs`, at a place that the user can reach.
    pub fn program(&self) -> PathBuf {
        self.files.path().join("program")
    }

    /// Gives `path` and all beneath it to the user. Others may pass through it, as the user's further ids must.
    pub fn give(&self, path: &Path) {
        let stat = fs::symlink_metadata(path).unwrap();
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.uid)).unwrap();
        if !stat.is_dir() {
            return;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(stat.permissions().mode() | 0o111)).unwrap();
        for entry in fs::read_dir(path).unwrap() {
            self.give(&entry.unwrap().path());
        }
    }

    /// A command as the user. [`Self::program`] is `runc-rs` there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let groups = if self.groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            let list: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            format!("--groups={}", list.join(","))
        };
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", WRAPPER, "sh"])
            .arg(self.files.path())
            .args([&self.uid.to_string(), &groups])
            .arg(super::program())
            .arg(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.files.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.runtime_dir())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }
}

/// Ends what the user still runs: the pause process of podman, what a failed test left. The ids are nobody else's.
impl Drop for User {
    fn drop(&mut self) {
        let ids = self.range..self.range + Self::RANGE;
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            // Processes come and go meanwhile.
            let owner = fs::metadata(entry.path()).map_or(0, |stat| std::os::unix::fs::MetadataExt::uid(&stat));
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
            let uid = line
                .split_whitespace()
                .nth(1)
                .and_then(|uid| uid.parse().ok())
                .unwrap_or(owner);
            let pid = entry.file_name().to_string_lossy().parse().ok();
            if let Some(pid) = pid.filter(|_| uid == self.uid || ids.contains(&uid)) {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
