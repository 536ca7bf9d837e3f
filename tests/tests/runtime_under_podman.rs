//! Debian's podman with `runc-rs` as its runtime.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};

/// A podman of the test's own: storage, state and control groups in private places.
struct Podman {
    dir: tempfile::TempDir,
    mark: String,
    before: Snapshot,
}

impl Podman {
    fn new(name: &str) -> Self {
        let mark = format!("rcpod-{name}-{}", std::process::id());
        let before = Snapshot::take(&mark);
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir().unwrap();
        let podman = Self { dir, mark, before };
        let rootfs = podman.path("rootfs");
        busybox_rootfs(&rootfs);
        let tar = podman.path("rootfs.tar");
        say(Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".")).ok();
        podman.call(&["import", tar.to_str().unwrap(), "bb"]).ok();
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("podman"));
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.path(name));
        }
        command.args([
            "--storage-driver",
            "vfs",
            "--events-backend",
            "file",
            "--cgroup-manager",
            "cgroupfs",
        ]);
        command.arg("--runtime").arg(ours("runc-rs")).args(args);
        command
    }

    fn call(&self, args: &[&str]) -> Said {
        say(&mut self.command(args))
    }

    /// `podman run` with the limits this machine needs.
    fn run(&self, args: &[&str]) -> Said {
        let parent = format!("/{}", self.mark);
        let mut all = vec!["run", "--network", "none", "--cgroup-parent", &parent];
        all.extend(["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=10000:10000"]);
        all.extend(args);
        self.call(&all)
    }

    /// The parent we named is ours to remove, with the group that podman made in it for its monitors; the containers' own groups are
    /// the runtime's affair, and are left for the leftover check to find.
    fn remove_parent_cgroup(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let parent = hierarchy.path().join(&self.mark);
            // A monitor may take a moment to end.
            while parent.join("conmon").exists()
                && std::fs::remove_dir(parent.join("conmon")).is_err()
                && std::time::Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = std::fs::remove_dir(parent);
        }
    }

    /// Removes everything and looks for leftovers.
    fn finish(self) {
        self.call(&["rm", "-fa", "-t", "0"]).ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines().filter(|line| line.contains(&self.mark)) {
            // podman's own storage mounts, not the runtime's.
            say(Command::new("umount").arg(line.split(' ').nth(4).unwrap()));
        }
        self.remove_parent_cgroup();
        drop(self.dir);
        self.before.assert_unchanged(Duration::from_secs(20));
    }
}

#[test]
fn run_and_its_exit_codes() {
    let podman = Podman::new("codes");
    assert_eq!(podman.run(&["--rm", "bb", "/bin/echo", "hello"]).ok(), "hello\n");
    assert_eq!(podman.run(&["--rm", "bb", "/bin/sh", "-c", "exit 42"]).code, 42);
    let missing = podman.run(&["--rm", "bb", "/nope"]);
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("no such file or directory"),
        "{}",
        missing.stderr
    );
    let refused = podman.run(&["--rm", "bb", "/bin"]);
    assert_eq!(refused.code, 126, "{}", refused.stderr);
    podman.finish();
}

#[test]
fn a_long_running_container_is_entered_paused_and_killed() {
    let podman = Podman::new("long");
    podman.run(&["-d", "--name", "c", "bb", "/bin/sleep", "1000"]).ok();
    assert!(podman.call(&["exec", "c", "/bin/id"]).ok().starts_with("uid=0"));
    assert_eq!(podman.call(&["exec", "c", "/nope"]).code, 127);
    let status = podman
        .call(&["exec", "-u", "1000", "c", "/bin/cat", "/proc/self/status"])
        .ok();
    assert!(
        status.contains("CapEff:\t0000000000000000") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    podman.call(&["pause", "c"]).ok();
    assert_eq!(
        podman.call(&["inspect", "-f", "{{.State.Status}}", "c"]).ok(),
        "paused\n"
    );
    podman.call(&["unpause", "c"]).ok();
    assert!(podman.call(&["top", "c"]).ok().contains("sleep 1000"));
    podman.call(&["kill", "c"]).ok();
    assert_eq!(podman.call(&["wait", "c"]).ok(), "137\n");
    podman.finish();
}

#[test]
fn limits_volumes_and_a_read_only_root() {
    let podman = Podman::new("limits");
    let limits = [
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids/pids.max",
    ];
    let mut args = vec!["--rm", "--memory", "50m", "--pids-limit", "33", "bb", "/bin/cat"];
    args.extend(limits);
    assert_eq!(podman.run(&args).ok(), "52428800\n33\n");
    let volume = podman.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let volume = volume.to_str().unwrap();
    let script =
        "echo x > /rw/made; echo x > /ro/made || echo 1; echo x > /made || echo 2; echo x > /scratch/made && echo 3";
    let args = [
        "--rm",
        "--read-only",
        "--tmpfs",
        "/scratch",
        "-v",
        &format!("{volume}:/rw"),
        "-v",
        &format!("{volume}:/ro:ro"),
        "bb",
        "/bin/sh",
        "-c",
        script,
    ];
    assert_eq!(podman.run(&args).ok(), "1\n2\n3\n");
    assert_eq!(std::fs::read_to_string(podman.path("volume/made")).unwrap(), "x\n");
    podman.finish();
}

#[test]
fn a_terminal() {
    let podman = Podman::new("tty");
    let mut command = Command::new("script");
    let inner = podman.command(&[]);
    let mut line: Vec<String> = vec![inner.get_program().to_string_lossy().into_owned()];
    line.extend(inner.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = format!(
        "{} run --network none --cgroup-parent /{} --ulimit nofile=20000:20000 --ulimit nproc=10000:10000 -t --rm bb /bin/sh -c 'tty; exit 5'",
        line.join(" "),
        podman.mark
    );
    let said = say(command.args(["-qec", &line, "/dev/null"]));
    assert_eq!(said.code, 5, "{}", said.stdout);
    assert!(said.stdout.contains("/dev/pts/0"), "{}", said.stdout);
    podman.finish();
}
