//! Debian's containerd and its own shim with `runc-rs` as the runtime's binary, driven by ctr.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};

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
        let (binary, root, rootfs) = (ours("runc-rs"), self.path("runtime"), self.path("rootfs"));
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
