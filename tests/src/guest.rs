//! A machine with cgroup v2: User Mode Linux from Debian's `user-mode-linux`, over this machine's own files.
//!
//! The guest's root is an overlay of a tmpfs over the host's root: it sees every program and every test binary of ours, and what it writes is gone
//! with it. It has one CPU, cgroup v2 with the controllers cpu, io, memory and pids, and no network but its own loopback. A boot takes a few
//! seconds; forks are some twenty times dearer than on the host, so tests share a boot: one script, many checks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::programs;

/// What a script did in the guest.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` when the guest died or ran out of time before the script ended.
    pub code: Option<i32>,
    /// Its standard output and standard error, together.
    pub output: String,
    /// What the guest's kernel said.
    pub log: String,
}

impl Outcome {
    /// Fails with everything that is known unless the script ended with 0.
    ///
    /// # Panics
    /// When the exit code is another one, or none.
    #[track_caller]
    pub fn assert_success(&self) {
        assert_eq!(self.code, Some(0), "output:\n{}\nkernel:\n{}", self.output, self.log);
    }
}

/// What is process 1 of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// A shell script that hands every controller on and runs the test's script.
    Script,
    /// systemd with its D-Bus; the test's script is a service of it. cgroup v2.
    Systemd,
    /// The same with cgroup v1: systemd's "legacy" layout.
    SystemdV1,
}

impl Init {
    /// What the kernel is told of it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Script => &[],
            Self::Systemd => &["GUEST_SYSTEMD=v2", "systemd.unified_cgroup_hierarchy=1"],
            Self::SystemdV1 => &[
                "GUEST_SYSTEMD=v1",
                "systemd.unified_cgroup_hierarchy=0",
                "systemd.legacy_systemd_cgroup_controller=1",
                // systemd 256.
                "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
            ],
        }
    }
}

/// Boots a guest with `memory` MiB, runs `script` as root in `bash`, and powers off. The guest is killed after `limit`.
///
/// # Panics
/// When User Mode Linux is not installed or can't be started.
pub fn run(script: &str, memory: u32, limit: Duration) -> Outcome {
    run_with(Init::Script, script, memory, limit)
}

/// As [`run`], with this process 1.
///
/// # Panics
/// As [`run`].
pub fn run_with(init: Init, script: &str, memory: u32, limit: Duration) -> Outcome {
    let linux = programs::peer("linux.uml");
    let modules = modules();
    // Not below /tmp: the guest has a /tmp of its own in its overlay, and must find these files where they are here.
    let directory = tempfile::Builder::new()
        .prefix("guest-")
        .tempdir_in("/var/tmp")
        .expect("a directory in /var/tmp");
    let first = directory.path().join("init");
    fs::write(directory.path().join("script"), script).expect("write the script");
    fs::write(&first, include_str!("guest-init.sh")).expect("write the guest's init");
    fs::write(directory.path().join("systemd"), include_str!("guest-systemd.sh")).expect("write systemd's set-up");
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).expect("chmod the guest's init");

    let mut guest = Command::new(linux);
    guest
        .arg(format!("mem={memory}M"))
        .args(["rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null"]);
    guest
        .args(["con0=null,fd:2", "con1=null,fd:1"])
        .arg(format!("init={}", first.display()));
    guest
        .arg(format!("GUEST_DIR={}", directory.path().display()))
        .arg(format!("GUEST_MODULES={modules}"));
    guest.args(init.arguments());
    // The guest's memory is a file in TMPDIR: on tmpfs, or it is written to disk.
    guest
        .env("TMPDIR", "/dev/shm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A process group of its own, so that all of the guest's host processes can be ended at once.
    std::os::unix::process::CommandExt::process_group(&mut guest, 0);
    let mut child = guest.spawn().expect("start linux.uml");
    let stdout = collect(child.stdout.take().expect("a pipe"));
    let stderr = collect(child.stderr.take().expect("a pipe"));
    let end = Instant::now() + limit;
    while child.try_wait().expect("wait for the guest").is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // Also after a clean end: User Mode Linux may leave a helper behind.
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    let _ = child.wait();
    let (output, log) = (stdout.join().expect("the reader"), stderr.join().expect("the reader"));
    let (output, code) = split_code(&output);
    Outcome { code, output, log }
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is all there is.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    })
}

/// The guest's last line is `guest-exit-code=N`.
pub(crate) fn split_code(output: &str) -> (String, Option<i32>) {
    match output.rsplit_once("guest-exit-code=") {
        Some((output, code)) => (output.to_owned(), code.trim().parse().ok()),
        None => (output.to_owned(), None),
    }
}

/// The directory of the guest kernel's modules, indexed: Debian's package leaves that to its user.
fn modules() -> String {
    let base = Path::new("/usr/lib/uml/modules");
    let entry = fs::read_dir(base)
        .ok()
        .and_then(|mut entries| entries.next()?.ok())
        .expect("/usr/lib/uml/modules");
    let version = entry.file_name().to_string_lossy().into_owned();
    if !entry.path().join("modules.dep").exists() {
        // depmod wants BASE/lib/modules/VERSION.
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("lib")).expect("mkdir");
        std::os::unix::fs::symlink(base, root.path().join("lib/modules")).expect("symlink");
        let status = Command::new(programs::peer("depmod"))
            .arg("-b")
            .arg(root.path())
            .arg(&version)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "depmod of {}",
            entry.path().display()
        );
    }
    version
}
