//! Debian's containerd and its own shim with `runc-rs` as the runtime's binary, driven by ctr.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};
use engine_tests::pty::Pty;

/// A daemon that ends with the test, also with one that fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        say(Command::new("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}

/// A containerd of the test's own.
struct Containerd {
    dir: tempfile::TempDir,
    namespace: String,
    daemon: Daemon,
    before: Snapshot,
}

impl Containerd {
    fn new(name: &str) -> Self {
        let mark = format!("rcctr-{name}-{}", std::process::id());
        let before = Snapshot::take(&mark);
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        busybox_rootfs(&dir.path().join("rootfs"));
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n[ttrpc]\n  address = {:?}\n",
            path("root"),
            path("state"),
            path("c.sock"),
            path("c.sock.ttrpc")
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(peer("containerd"))
            .arg("-c")
            .arg(dir.path().join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self {
            dir,
            namespace: mark,
            daemon: Daemon(child),
            before,
        };
        let end = Instant::now() + Duration::from_secs(60);
        while containerd.ctr(&["version"]).code != 0 {
            assert!(Instant::now() < end, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        containerd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("ctr"));
        command
            .arg("--address")
            .arg(self.path("c.sock"))
            .args(["--namespace", &self.namespace])
            .args(args);
        command
    }

    fn ctr(&self, args: &[&str]) -> Said {
        say(&mut self.command(args))
    }

    /// `ctr run` with our binary over the busybox root.
    fn run(&self, flags: &[&str], id: &str, program: &[&str]) -> Said {
        self.run_by(&ours("runc-rs"), flags, id, program)
    }

    /// `ctr run` with any runtime's binary over the busybox root.
    fn run_by(&self, binary: &Path, flags: &[&str], id: &str, program: &[&str]) -> Said {
        let (root, rootfs) = (self.path("runtime"), self.path("rootfs"));
        let mut args = vec![
            "run",
            "--runc-binary",
            binary.to_str().unwrap(),
            "--runc-root",
            root.to_str().unwrap(),
        ];
        args.extend(flags);
        args.extend(["--rootfs", rootfs.to_str().unwrap(), id]);
        args.extend(program);
        self.ctr(&args)
    }

    fn finish(self) {
        drop(self.daemon);
        drop(self.dir);
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            // The namespace's own directory, which containerd leaves.
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.namespace));
        }
        self.before.assert_unchanged(Duration::from_secs(20));
    }
}

fn wait_for_status(containerd: &Containerd, id: &str, status: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let table = containerd.ctr(&["task", "ls"]).ok();
        if table.lines().any(|line| line.starts_with(id) && line.ends_with(status)) {
            return;
        }
        assert!(Instant::now() < end, "{id} is not {status}: {table}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn run_and_its_failures() {
    let containerd = Containerd::new("run");
    assert_eq!(containerd.run(&["--rm"], "a", &["/bin/echo", "hello"]).ok(), "hello\n");
    assert_eq!(containerd.run(&["--rm"], "b", &["/bin/sh", "-c", "exit 42"]).code, 42);
    let missing = containerd.run(&["--rm"], "c", &["/nope"]);
    let words = "OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory";
    assert!(
        missing.code != 0 && missing.stderr.contains(words),
        "{}",
        missing.stderr
    );
    let not_found = containerd.run(&["--rm"], "d", &["nope"]);
    assert!(
        not_found.stderr.contains("executable file not found in $PATH"),
        "{}",
        not_found.stderr
    );
    containerd.finish();
}

#[test]
fn a_task_is_entered_paused_measured_killed_and_removed() {
    let containerd = Containerd::new("task");
    containerd.run(&["-d"], "t", &["/bin/sleep", "1000"]).ok();
    wait_for_status(&containerd, "t", "RUNNING");
    assert!(
        containerd
            .ctr(&["task", "exec", "--exec-id", "e1", "t", "/bin/id"])
            .ok()
            .starts_with("uid=0")
    );
    let failed = containerd.ctr(&["task", "exec", "--exec-id", "e2", "t", "/nope"]);
    let words = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory";
    assert!(failed.stderr.contains(words), "{}", failed.stderr);
    let mut pty = Pty::spawn(
        containerd.command(&["task", "exec", "-t", "--exec-id", "e3", "t", "/bin/sh"]),
        33,
        99,
    );
    pty.expect("# ");
    pty.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed; tty\n");
    // The client's own terminal is raw: line ends are the container's, and one more.
    pty.expect("sized\r");
    pty.expect("\n/dev/pts/");
    pty.send("exit 4\n");
    assert_eq!(pty.wait().0, 4);
    assert_eq!(
        containerd
            .ctr(&["task", "exec", "--exec-id", "e4", "t", "/bin/sh", "-c", "exit 9"])
            .code,
        9
    );
    let processes = containerd.ctr(&["task", "ps", "t"]).ok();
    assert_eq!(processes.lines().count(), 2, "{processes}");
    containerd.ctr(&["task", "pause", "t"]).ok();
    wait_for_status(&containerd, "t", "PAUSED");
    containerd.ctr(&["task", "resume", "t"]).ok();
    wait_for_status(&containerd, "t", "RUNNING");
    assert!(
        containerd
            .ctr(&["task", "metrics", "t"])
            .ok()
            .contains("memory.usage_in_bytes")
    );
    containerd.ctr(&["task", "kill", "-s", "KILL", "t"]).ok();
    wait_for_status(&containerd, "t", "STOPPED");
    let removed = containerd.ctr(&["task", "rm", "t"]);
    assert!(
        removed.code == 0 && removed.stderr.contains("exit code 137"),
        "{}",
        removed.stderr
    );
    containerd.ctr(&["container", "rm", "t"]).ok();
    containerd.finish();
}

#[test]
fn a_terminal() {
    let containerd = Containerd::new("tty");
    let inner = containerd.command(&[]);
    let mut line: Vec<String> = vec![inner.get_program().to_string_lossy().into_owned()];
    line.extend(inner.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = format!(
        "{} run -t --rm --runc-binary {} --runc-root {} --rootfs {} t /bin/sh -c 'tty; exit 5'",
        line.join(" "),
        ours("runc-rs").display(),
        containerd.path("runtime").display(),
        containerd.path("rootfs").display()
    );
    let said = say(Command::new("script").args(["-qec", &line, "/dev/null"]));
    assert_eq!(said.code, 5, "{}", said.stdout);
    assert!(said.stdout.contains("/dev/pts/0"), "{}", said.stdout);
    containerd.finish();
}

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status";

/// Flags of `ctr run`, and the program.
const RUNS: &[(&[&str], &[&str])] = &[
    (&[], &["/bin/sh", "-c", STATUS]),
    (&["--privileged"], &["/bin/sh", "-c", STATUS]),
    (
        &["--seccomp", "--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_ADMIN"],
        &["/bin/sh", "-c", STATUS],
    ),
    (
        &["--user", "1000:1000", "--allow-new-privs"],
        &["/bin/sh", "-c", STATUS],
    ),
    (
        &["--read-only", "--env", "A=b", "--cwd", "/tmp"],
        &["/bin/sh", "-c", "pwd; echo $A; touch /x"],
    ),
    (&["--cwd", "/made/here"], &["/bin/sh", "-c", "pwd"]),
    (&["--cwd", "/etc/passwd"], &["/bin/true"]),
    (
        &["--memory-limit", "67108864", "--cpus", "0.5"],
        &[
            "/bin/sh",
            "-c",
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us",
        ],
    ),
    (
        &[
            "--mount",
            "type=bind,src=/etc,dst=/mnt,options=rbind:ro",
            "--mount",
            "type=tmpfs,src=t,dst=/t,options=size=64k",
        ],
        &[
            "/bin/sh",
            "-c",
            "grep -E ' /(mnt|t) ' /proc/self/mountinfo | cut -d' ' -f5,6; ls -ld /t | cut -c1-10; touch /mnt/x",
        ],
    ),
    (
        &["--mount", "type=bind,src=/nonsense,dst=/mnt,options=rbind"],
        &["/bin/true"],
    ),
    (
        &["--net-host"],
        &[
            "/bin/sh",
            "-c",
            "echo /sys/class/net/*; /bin/busybox readlink /proc/self/ns/net",
        ],
    ),
    (&["--device", "/dev/null"], &["/bin/sh", "-c", "echo x > /dev/null"]),
    (&[], &["/bin/sh", "-c", "kill -TERM $$; exit 3"]),
    (&[], &["/etc/passwd"]),
    (&[], &["/etc"]),
];

#[test]
fn runs_end_as_with_runc() {
    let containerd = Containerd::new("beside");
    // A tmpfs has the permissions of the directory beneath it.
    std::fs::create_dir(containerd.path("rootfs/t")).unwrap();
    std::fs::set_permissions(containerd.path("rootfs/t"), std::fs::Permissions::from_mode(0o1750)).unwrap();
    let mut wrong = Vec::new();
    for (number, (flags, program)) in RUNS.iter().enumerate() {
        let flags: Vec<&str> = ["--rm"].iter().chain(*flags).copied().collect();
        let run = |binary: &Path| {
            let said = containerd.run_by(binary, &flags, &format!("r{number}"), program);
            (said.code, said.stdout, said.stderr)
        };
        let (ours, theirs) = (run(&ours("runc-rs")), run(&peer("runc")));
        if ours != theirs {
            wrong.push(format!("{flags:?} {program:?}:\n ours {ours:#?}\n runc {theirs:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    say(Command::new(peer("ip")).args(["netns", "add", &containerd.namespace])).ok();
    let joined = format!("network:/run/netns/{}", containerd.namespace);
    let net = ["/bin/busybox", "stat", "-Lc", "%i", "/proc/self/ns/net"];
    let seen = containerd.run(&["--rm", "--with-ns", &joined], "joined", &net).ok();
    let there = std::fs::metadata(format!("/run/netns/{}", containerd.namespace))
        .unwrap()
        .ino();
    assert_eq!(seen, format!("{there}\n"));
    say(Command::new(peer("ip")).args(["netns", "del", &containerd.namespace])).ok();
    containerd.finish();
}

#[test]
fn twenty_at_once_leave_nothing() {
    let containerd = Containerd::new("many");
    std::thread::scope(|scope| {
        for number in 0..20 {
            let containerd = &containerd;
            scope.spawn(move || {
                let text = format!("{number}\n");
                let said = containerd.run(&["--rm"], &format!("m{number}"), &["/bin/echo", text.trim()]);
                assert_eq!(said.ok(), text);
            });
        }
    });
    assert_eq!(containerd.ctr(&["container", "ls", "-q"]).ok(), "");
    let records = std::fs::read_dir(containerd.path("runtime").join(&containerd.namespace)).map(Iterator::count);
    assert_eq!(records.unwrap_or(0), 0, "the runtime's records");
    containerd.finish();
}
