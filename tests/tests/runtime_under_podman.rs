//! Debian's podman with `runc-rs` as its runtime.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::daemon::wait_until;
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};
use engine_tests::pty::Pty;

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
        // The infra container of a pod has no flags of its own, and must be within this machine's limits too.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=10000:10000\"]\n";
        std::fs::write(dir.path().join("containers.conf"), limits).unwrap();
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
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
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

    /// `podman run` in a control group of the test's own.
    fn run(&self, args: &[&str]) -> Said {
        let parent = format!("/{}", self.mark);
        let mut all = vec!["run", "--network", "none", "--cgroup-parent", &parent];
        all.extend(args);
        self.call(&all)
    }

    /// The parent we named is ours to remove, with the groups that podman made in it for its monitors and pods; the containers' own groups
    /// (`libpod-ID`) are the runtime's affair, and are left for the leftover check to find.
    fn remove_parent_cgroup(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        let children = |directory: &Path| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        for hierarchy in children(Path::new("/sys/fs/cgroup")) {
            let parent = hierarchy.join(&self.mark);
            let pods = children(&parent);
            let pods = pods.iter().filter(|pod| !pod.ends_with("conmon"));
            let monitors = pods
                .clone()
                .map(|pod| pod.join("conmon"))
                .chain([parent.join("conmon")]);
            for group in monitors.collect::<Vec<_>>() {
                // A monitor may take a moment to end.
                while group.exists() && std::fs::remove_dir(&group).is_err() && std::time::Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            for pod in pods.filter(|pod| !pod.to_string_lossy().contains("/libpod-")) {
                let _ = std::fs::remove_dir(pod);
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
    command.env("CONTAINERS_CONF", podman.path("containers.conf"));
    let inner = podman.command(&[]);
    let mut line: Vec<String> = vec![inner.get_program().to_string_lossy().into_owned()];
    line.extend(inner.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = format!(
        "{} run --network none --cgroup-parent /{} -t --rm bb /bin/sh -c 'tty; sleep 1; exit 5'",
        line.join(" "),
        podman.mark
    );
    let said = say(command.args(["-qec", &line, "/dev/null"]));
    assert_eq!(said.code, 5, "{}", said.stdout);
    assert!(said.stdout.contains("/dev/pts/0"), "{}", said.stdout);
    podman.finish();
}

#[test]
fn a_container_is_measured_updated_and_asked_for_its_health() {
    let podman = Podman::new("update");
    let health = [
        "--health-cmd",
        "test -e /well",
        "--health-interval",
        "disable",
        "--health-retries",
        "1",
    ];
    let run = ["-d", "--name", "c", "--memory", "64m"].iter().chain(&health);
    podman
        .run(&run.chain(&["bb", "/bin/sleep", "1000"]).copied().collect::<Vec<_>>())
        .ok();
    assert_eq!(podman.call(&["healthcheck", "run", "c"]).code, 1);
    podman.call(&["exec", "c", "/bin/touch", "/well"]).ok();
    assert_eq!(podman.call(&["healthcheck", "run", "c"]).code, 0);
    assert_eq!(
        podman.call(&["inspect", "-f", "{{.State.Health.Status}}", "c"]).ok(),
        "healthy\n"
    );

    let update = [
        "update",
        "--memory",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "77",
        "--cpuset-cpus",
        "0",
        "c",
    ];
    podman.call(&update).ok();
    let files =
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus";
    assert_eq!(
        podman.call(&["exec", "c", "/bin/sh", "-c", files]).ok(),
        "33554432\n50000\n77\n0\n"
    );

    let stats = podman.call(&["stats", "--no-stream", "--format", "json", "c"]).ok();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let text = |key: &str| stats[0][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text("name"), text("pids")),
        ("c".to_owned(), "1".to_owned()),
        "{stats}"
    );
    assert!(
        text("mem_usage").ends_with("MB") && !text("mem_usage").starts_with("0B"),
        "{stats}"
    );

    let mut pty = Pty::spawn(podman.command(&["exec", "-it", "c", "/bin/sh"]), 33, 99);
    pty.expect("# ");
    pty.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed; tty\n");
    pty.expect("sized\r\n/dev/pts/");
    pty.send("exit 4\n");
    assert_eq!(pty.wait().0, 4);
    podman.call(&["exec", "-d", "c", "/bin/touch", "/touched"]).ok();
    wait_until("the file", || {
        podman.call(&["exec", "c", "/bin/ls", "/touched"]).code == 0
    });
    // Its child has the memory.
    let eat = podman.run(&[
        "--name",
        "eater",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        "bb",
        "/bin/sh",
        "-c",
        "head -c 1000000000 /dev/zero | tail -n 1",
    ]);
    assert_eq!(eat.code, 137, "{}", eat.stderr);
    podman.call(&["restart", "-t", "0", "c"]).ok();
    podman.call(&["stop", "-t", "1", "c"]).ok();
    podman.finish();
}

#[test]
fn a_pod_shares_its_namespaces() {
    let podman = Podman::new("pod");
    let parent = format!("/{}", podman.mark);
    podman
        .call(&[
            "pod",
            "create",
            "--name",
            "p",
            "--cgroup-parent",
            &parent,
            "--network",
            "none",
            "--hostname",
            "podded",
            "--infra-image",
            "bb",
            "--infra-command",
            "/bin/sleep 1000",
        ])
        .ok();
    let member = |flags: &[&str], program: &[&str]| {
        let line = ["run", "--pod", "p"].iter().chain(flags);
        podman.call(&line.chain(&["bb"]).chain(program).copied().collect::<Vec<_>>())
    };
    member(&["-d", "--name", "a"], &["/bin/sleep", "1000"]).ok();
    assert_eq!(
        podman
            .call(&["pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}"])
            .ok(),
        "Running 2\n"
    );
    for namespace in ["ipc", "net", "uts"] {
        let link = format!("/proc/self/ns/{namespace}");
        let others = podman.call(&["exec", "a", "/bin/busybox", "readlink", &link]).ok();
        assert_eq!(
            member(&["--rm"], &["/bin/busybox", "readlink", &link]).ok(),
            others,
            "{namespace}"
        );
    }
    assert_eq!(member(&["--rm"], &["/bin/hostname"]).ok(), "podded\n");
    podman.call(&["pod", "pause", "p"]).ok();
    assert_eq!(
        podman.call(&["inspect", "-f", "{{.State.Status}}", "a"]).ok(),
        "paused\n"
    );
    podman.call(&["pod", "unpause", "p"]).ok();
    podman.call(&["pod", "stop", "-t", "0", "p"]).ok();
    podman.call(&["pod", "start", "p"]).ok();
    podman.call(&["exec", "a", "/bin/true"]).ok();
    podman.call(&["pod", "rm", "-f", "-t", "0", "p"]).ok();
    podman.finish();
}
