//! Our shim under Debian's containerd, driven by ctr: with runc-rs linked in, and with Debian's runc and crun as its OCI binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_tests::bundle::{Said, say};
use engine_tests::image_tars::image_tar;
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};

const IMAGE: &str = "docker.io/library/busybox:latest";

/// A containerd of the test's own, that finds our shim under its own name and under that of containerd's.
struct Containerd {
    dir: tempfile::TempDir,
    mark: String,
    child: Child,
    before: Snapshot,
    /// `None`: the linked runtime.
    binary: Option<&'static str>,
}

impl Containerd {
    fn new(name: &str, binary: Option<&'static str>) -> Self {
        let mark = format!("shimctr-{name}-{}", std::process::id());
        let before = Snapshot::take(&mark);
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n[ttrpc]\n  address = {:?}\n[debug]\n  level = \"debug\"\n",
            path("root"),
            path("state"),
            path("c.sock"),
            path("c.sock.ttrpc")
        );
        fs::write(dir.path().join("config.toml"), config).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["containerd-shim-runc-rs-v2", "containerd-shim-runc-v2"] {
            symlink(ours("containerd-shim-runc-rs-v2"), dir.path().join("bin").join(name)).unwrap();
        }
        let child = daemon(&dir, binary);
        let containerd = Self {
            dir,
            mark,
            child,
            before,
            binary,
        };
        containerd.wait_until_it_answers();
        let image = image_tar(
            containerd.dir.path(),
            "busybox:latest",
            &serde_json::json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]}),
        );
        containerd.ctr(&["images", "import", image.to_str().unwrap()]).ok();
        containerd
    }

    fn wait_until_it_answers(&self) {
        until("containerd answers", || self.ctr(&["version"]).code == 0);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("ctr"));
        command
            .arg("--address")
            .arg(self.path("c.sock"))
            .args(["--namespace", &self.mark])
            .args(args);
        command
    }

    fn ctr(&self, args: &[&str]) -> Said {
        say(&mut self.command(args))
    }

    /// The arguments of `ctr run` with our shim.
    fn run_args<'a>(&self, flags: &[&'a str], id: &'a str, program: &[&'a str]) -> Vec<&'a str> {
        let runtime: &[&str] = match self.binary {
            None => &["--runtime", "io.containerd.runc-rs.v2"],
            // ctr passes the binary on only to containerd's own shim, by whose name ours goes here.
            Some(binary) => &["--runtime", "io.containerd.runc.v2", "--runc-binary", binary],
        };
        [&["run"], runtime, flags, &[IMAGE, id], program].concat()
    }

    fn run(&self, flags: &[&str], id: &str, program: &[&str]) -> Said {
        self.ctr(&self.run_args(flags, id, program))
    }

    /// The line of a task in `ctr task ls`: its pid and its status.
    fn task(&self, id: &str) -> Option<(i32, String)> {
        let table = self.ctr(&["task", "ls"]).ok();
        let mut fields = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(id))?
            .split_whitespace()
            .skip(1);
        Some((fields.next()?.parse().unwrap(), fields.next()?.to_owned()))
    }

    fn wait_for_status(&self, id: &str, status: &str) {
        until(status, || self.task(id).is_some_and(|(_, now)| now == status));
    }

    fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = daemon(&self.dir, self.binary);
        self.wait_until_it_answers();
    }

    fn remove(&self, id: &str) {
        self.ctr(&["task", "kill", "--signal", "KILL", id]);
        self.wait_for_status(id, "STOPPED");
        self.ctr(&["task", "delete", id]);
        self.ctr(&["container", "rm", id]).ok();
    }

    /// Ends it, and looks for what it left.
    fn finish(mut self) {
        let name = self.mark.clone();
        assert_eq!(self.ctr(&["task", "ls", "-q"]).ok(), "", "{name}");
        say(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap();
        drop(self.dir);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            // The namespace's own directory, which containerd leaves.
            let _ = fs::remove_dir(hierarchy.path().join(&self.mark));
        }
        let _ = fs::remove_dir(PathBuf::from("/run/containerd/runc").join(&self.mark));
        self.before.assert_unchanged(Duration::from_secs(20));
    }
}

fn daemon(dir: &tempfile::TempDir, binary: Option<&str>) -> Child {
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(dir.path().join("log"))
        .unwrap();
    let bin = format!(
        "{}:{}",
        dir.path().join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    // crun refuses the hybrid layout: it gets to see none.
    let hide = if binary == Some("crun") {
        "umount /sys/fs/cgroup/unified;"
    } else {
        ""
    };
    let script = format!("{hide} exec \"$0\" -c \"$1\"");
    let mut command = if binary == Some("crun") {
        let mut command = Command::new(peer("unshare"));
        command.args(["-m", "sh", "-c", &script]).arg(peer("containerd"));
        command
    } else {
        let mut command = Command::new(peer("containerd"));
        command.arg("-c");
        command
    };
    command.arg(dir.path().join("config.toml")).env("PATH", bin);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "never came to be: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_alive(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Everything that ctr can do to a task.
fn tour(name: &str, binary: Option<&'static str>) {
    let containerd = Containerd::new(name, binary);
    runs_and_fails(&containerd);
    pipes_and_terminals(&containerd);
    a_whole_life(&containerd);
    containerd.finish();
}

fn runs_and_fails(containerd: &Containerd) {
    let id = format!("{}-a", containerd.mark);
    let said = containerd.run(&["--rm"], &id, &["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (42, "out\n", "err\n")
    );
    let missing = containerd.run(&["--rm"], &id, &["/nope"]);
    let text = &missing.stderr;
    assert_eq!(missing.code, 1);
    assert!(
        text.contains("failed to create shim task: OCI runtime create failed: "),
        "{text}"
    );
    assert!(text.to_lowercase().contains("no such file or directory"), "{text}");
}

fn pipes_and_terminals(containerd: &Containerd) {
    let id = format!("{}-b", containerd.mark);
    let data: Vec<u8> = (0..3_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut child = containerd.command(&containerd.run_args(&["--rm"], &id, &["cat"]));
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let copy = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&copy).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == data);

    let run = containerd
        .run_args(&["--rm", "-t"], &id, &["sh", "-c", "'tty; exit 3'"])
        .join(" ");
    let (ctr, socket) = (peer("ctr"), containerd.path("c.sock"));
    let line = format!(
        "{} --address {} --namespace {} {run}",
        ctr.display(),
        socket.display(),
        containerd.mark
    );
    let terminal = say(Command::new(peer("script")).args(["-qec", &line, "/dev/null"]));
    assert_eq!(terminal.code, 3, "{terminal:?}");
    assert!(
        terminal.stdout.contains("/dev/pts/0") || terminal.stdout.contains("/dev/console"),
        "{terminal:?}"
    );
}

fn a_whole_life(containerd: &Containerd) {
    let id = &format!("{}-c", containerd.mark);
    let events = containerd.path("events");
    let mut watching = containerd.command(&["events"]);
    let mut watching = watching.stdout(fs::File::create(&events).unwrap()).spawn().unwrap();
    // An event of the watcher's own says that it watches.
    until("ctr events", || {
        containerd
            .ctr(&["namespaces", "label", &containerd.mark, "test=test"])
            .ok();
        fs::metadata(&events).unwrap().len() > 0
    });
    let program = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
    containerd.run(&["-d"], id, &["sh", "-c", program]).ok();
    let exec = containerd.ctr(&["task", "exec", "--exec-id", "e", id, "sh", "-c", "echo in exec; exit 5"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (5, "in exec\n"));
    let (pid, _) = containerd.task(id).unwrap();
    assert!(containerd.ctr(&["task", "ps", id]).ok().contains(&pid.to_string()));
    let metrics = containerd.ctr(&["task", "metrics", id]).ok();
    assert!(metrics.contains("memory.usage"), "{metrics}");
    containerd.ctr(&["task", "pause", id]).ok();
    containerd.wait_for_status(id, "PAUSED");
    containerd.ctr(&["task", "resume", id]).ok();
    containerd.wait_for_status(id, "RUNNING");
    let running = containerd.ctr(&["task", "delete", id]);
    assert!(
        running.code != 0 && running.stderr.contains("failed precondition"),
        "{running:?}"
    );
    containerd.ctr(&["task", "kill", "--signal", "TERM", id]).ok();
    containerd.wait_for_status(id, "STOPPED");
    let deleted = containerd.ctr(&["task", "delete", id]);
    assert!(deleted.stderr.contains("exit with non-zero exit code 9"), "{deleted:?}");
    containerd.ctr(&["container", "rm", id]).ok();

    let expected = [
        "create",
        "start",
        "exec-added",
        "exec-started",
        "exit",
        "paused",
        "resumed",
        "exit",
        "delete",
    ];
    let expected: Vec<String> = expected.iter().map(|topic| format!("/tasks/{topic}")).collect();
    until("all events", || topics(&events, id).len() >= expected.len());
    assert_eq!(topics(&events, id), expected);
    watching.kill().unwrap();
    watching.wait().unwrap();
}

/// The topics of a task's events, as `ctr events` wrote them down.
fn topics(events: &std::path::Path, id: &str) -> Vec<String> {
    let text = fs::read_to_string(events).unwrap();
    let about = text
        .lines()
        .filter(|line| line.contains(id) && line.contains("/tasks/"));
    about
        .map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("/tasks/"))
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn a_tour_with_the_linked_runtime() {
    tour("linked", None);
}

#[test]
fn a_tour_with_runc() {
    tour("runc", Some("runc"));
}

#[test]
fn a_tour_with_crun() {
    tour("crun", Some("crun"));
}

#[test]
fn a_killed_shim_takes_its_container_along_and_nothing_is_left() {
    for binary in [None, Some("runc")] {
        let containerd = Containerd::new(if binary.is_none() { "dead" } else { "deadrunc" }, binary);
        let id = format!("{}-x", containerd.mark);
        containerd.run(&["-d"], &id, &["sleep", "1000"]).ok();
        let (pid, _) = containerd.task(&id).unwrap();
        let shim = parent(pid);
        say(Command::new("kill").args(["-9", &shim.to_string()])).ok();
        until("the end of the container", || !is_alive(pid));
        until("containerd to notice", || {
            containerd.task(&id).is_none_or(|(_, status)| status == "STOPPED")
        });
        containerd.ctr(&["task", "delete", &id]);
        containerd.ctr(&["container", "rm", &id]).ok();
        containerd.finish();
    }
}

#[test]
fn a_killed_daemon_finds_everything_again() {
    for binary in [None, Some("runc")] {
        let mut containerd = Containerd::new(if binary.is_none() { "again" } else { "againrunc" }, binary);
        let id = |n: &str| format!("{}-{n}", containerd.mark);
        let (stays, ends) = (id("stays"), id("ends"));
        containerd.run(&["-d"], &stays, &["sleep", "1000"]).ok();
        let wait = "while [ -e /go ]; do sleep 0.05; done; exit 33";
        containerd
            .run(&["-d"], &ends, &["sh", "-c", &format!("touch /go; {wait}")])
            .ok();
        let (pid, _) = containerd.task(&stays).unwrap();
        let (ending, _) = containerd.task(&ends).unwrap();
        until("its file", || fs::exists(format!("/proc/{ending}/root/go")).unwrap());
        for round in 0..3 {
            containerd.kill9();
            if round == 1 {
                fs::remove_file(format!("/proc/{ending}/root/go")).unwrap();
                until("the end of it", || !is_alive(ending));
            }
            containerd.start_again();
            assert_eq!(containerd.task(&stays), Some((pid, "RUNNING".to_owned())));
            let name = format!("e{round}");
            let exec = containerd.ctr(&["task", "exec", "--exec-id", &name, &stays, "echo", "still here"]);
            assert_eq!(exec.ok(), "still here\n");
        }
        containerd.wait_for_status(&ends, "STOPPED");
        let deleted = containerd.ctr(&["task", "delete", &ends]);
        assert!(
            deleted.stderr.contains("exit with non-zero exit code 33"),
            "{deleted:?}"
        );
        containerd.ctr(&["container", "rm", &ends]).ok();
        containerd.remove(&stays);
        containerd.finish();
    }
}

#[test]
fn forty_runs_eight_at_a_time_leave_nothing() {
    let containerd = Containerd::new("many", None);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let containerd = &containerd;
            scope.spawn(move || {
                for round in 0..5 {
                    let id = format!("{}-{thread}-{round}", containerd.mark);
                    let said = containerd.run(&["--rm"], &id, &["sh", "-c", &format!("echo {id}; exit {round}")]);
                    assert_eq!((said.code, said.stdout), (round, format!("{id}\n")), "{}", said.stderr);
                }
            });
        }
    });
    containerd.finish();
}
