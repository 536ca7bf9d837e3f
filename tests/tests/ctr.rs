//! Debian's `ctr` against containerd-rs: with Debian's shim and with ours.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use engine_tests::containerd::{Containerd, IMAGE, Shim, signal};
use engine_tests::programs::{ours, peer};
use nix::sys::signal::Signal;

#[test]
fn version_plugins_and_namespaces() {
    let c = Containerd::start(Shim::Debian);
    assert!(c.ok(["version"]).contains("containerd-rs"));
    let plugins = c.ok(["plugins", "ls"]);
    for (kind, id) in [
        ("io.containerd.snapshotter.v1", "overlayfs"),
        ("io.containerd.runtime.v2", "task"),
        ("io.containerd.content.v1", "content"),
        ("io.containerd.differ.v1", "walking"),
    ] {
        let found = plugins
            .lines()
            .any(|l| l.starts_with(kind) && l.contains(id) && l.contains(" ok"));
        assert!(found, "{kind} {id}: {plugins}");
    }
    assert_eq!(c.ok(["plugins", "ls", "-q", "id==overlayfs"]).lines().count(), 1);
    c.ok(["namespaces", "create", "other", "colour=red"]);
    c.ok(["namespaces", "label", "other", "size=2"]);
    let list = c.ok(["namespaces", "ls"]);
    assert!(
        list.contains("other") && list.contains("colour=red") && list.contains("size=2"),
        "{list}"
    );
    assert!(c.fails(["namespaces", "create", "other"]).contains("already exists"));
    assert!(c.fails(["namespaces", "create", "a/b"]).contains("must match"));
    c.ok(["namespaces", "rm", "other"]);
    assert!(!c.ok(["namespaces", "ls"]).contains("other"));
    c.finish();
}

#[test]
fn image_comes_in_is_renamed_goes_out_and_is_removed() {
    let c = Containerd::with_image(Shim::Debian);
    let list = c.ok(["image", "ls"]);
    assert!(list.contains(IMAGE) && list.contains("MiB"), "{list}");
    c.ok(["image", "tag", IMAGE, "other:1"]);
    assert!(c.fails(["image", "tag", IMAGE, "other:1"]).contains("already exists"));
    c.ok(["image", "label", "other:1", "a=b"]);
    assert!(c.ok(["image", "ls", "name==other:1"]).contains("a=b"));
    let out = c.directory().join("out.tar");
    let out = out.to_str().unwrap();
    c.ok(["image", "export", out, IMAGE]);
    c.ok(["image", "rm", "--sync", IMAGE, "other:1"]);
    assert_eq!(c.ok(["content", "ls", "-q"]), "", "content outlives the image");
    assert_eq!(
        c.ok(["snapshot", "ls"]).lines().count(),
        1,
        "snapshots outlive the image"
    );
    c.ok(["image", "import", out]);
    let said = c.ok(c.run_args(&["--rm"], "again", &["echo", "from", "the", "export"]));
    assert_eq!(said, "from the export\n");
    assert!(c.fails(["image", "export", out, "nope"]).contains("not found"));
    c.finish();
}

#[test]
fn content_and_snapshots_by_name() {
    let c = Containerd::with_image(Shim::Debian);
    // Manifest, config, layer. The index of the archive was needed for the import only, and is collected.
    c.until("three blobs", || c.ok(["content", "ls", "-q"]).lines().count() == 3);
    let digests = c.ok(["content", "ls", "-q"]);
    for digest in digests.lines() {
        let blob = c.output(["content", "get", digest]).stdout;
        let mut sum = Command::new(peer("sha256sum"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        sum.stdin.take().unwrap().write_all(&blob).unwrap();
        let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(format!("sha256:{}", &sum[..64]), digest);
    }
    let snapshots = c.ok(["snapshot", "ls"]);
    let layer = snapshots.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    c.ok(["snapshot", "prepare", "mine", layer]);
    assert!(
        c.fails(["snapshot", "prepare", "mine", layer])
            .contains("already exists")
    );
    assert!(c.ok(["snapshot", "mounts", "/target", "mine"]).contains("overlay"));
    assert!(c.ok(["snapshot", "info", "mine"]).contains("Active"));
    assert!(c.fails(["snapshot", "rm", layer]).contains("failed precondition"));
    let ingested = "hello";
    let mut ingest = c.ctr(["content", "ingest", "--expected-size", "5", "ref1"]);
    let mut child = ingest.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ingested.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(c.ok(["content", "get", digest]), ingested);
    c.ok(["content", "rm", digest]);
    assert!(c.fails(["content", "get", digest]).contains("not found"));
    c.ok(["snapshot", "rm", "mine"]);
    c.finish();
}

#[test]
fn leases_hold_what_nothing_else_does() {
    let c = Containerd::with_image(Shim::Debian);
    c.ok(["leases", "create", "--id", "mine", "a=b"]);
    assert!(c.ok(["leases", "ls"]).contains("mine"));
    assert!(c.fails(["leases", "create", "--id", "mine"]).contains("already exists"));
    c.ok(["leases", "create"]);
    let leases = c.ok(["leases", "ls", "-q"]);
    assert_eq!(leases.lines().count(), 2, "{leases}");
    for lease in leases.lines() {
        c.ok(["leases", "delete", "--sync", lease]);
    }
    assert_eq!(c.ok(["leases", "ls", "-q"]), "");
    c.finish();
}

#[test]
fn container_records_are_kept_and_changed() {
    let c = Containerd::with_image(Shim::Debian);
    c.ok(["container", "create", "--label", "colour=red", IMAGE, "r1", "sh"]);
    let info: serde_json::Value = serde_json::from_str(&c.ok(["container", "info", "r1"])).unwrap();
    assert_eq!(info["Image"], IMAGE);
    assert_eq!(info["Labels"]["colour"], "red");
    assert_eq!(info["Spec"]["process"]["args"][0], "sh");
    c.ok(["container", "label", "r1", "colour="]);
    c.ok(["container", "label", "r1", "size=2"]);
    let info: serde_json::Value = serde_json::from_str(&c.ok(["container", "info", "r1"])).unwrap();
    assert!(
        info["Labels"].get("colour").is_none() && info["Labels"]["size"] == "2",
        "{info}"
    );
    assert_eq!(c.ok(["container", "ls", "-q", "labels.size==2"]), "r1\n");
    assert_eq!(c.ok(["container", "ls", "-q", "labels.size==3"]), "");
    let said = c.fails(["container", "create", IMAGE, "r1"]);
    assert!(said.contains("already exists"), "{said}");
    let said = c.fails(["container", "create", IMAGE, "r/1"]);
    assert!(said.contains("must match"), "{said}");
    c.finish();
}

#[test]
fn what_is_not_there_is_said_to_be_not_found() {
    let c = Containerd::with_image(Shim::Debian);
    for args in [
        &["run", "--rm", "docker.io/library/absent:1", "x"][..],
        &["container", "info", "absent"],
        &["task", "kill", "absent"],
        &["task", "start", "absent"],
        &["task", "exec", "--exec-id", "e", "absent", "true"],
        &[
            "content",
            "get",
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ],
        &["snapshot", "rm", "absent"],
    ] {
        let said = c.fails(args);
        assert!(said.contains("not found"), "{args:?}: {said}");
    }
    let said = c.fails(["run", "--rm", "--runtime", "io.containerd.absent.v2", IMAGE, "x"]);
    assert!(said.contains("binary not installed"), "{said}");
    let broken = c.directory().join("broken.tar");
    fs::write(&broken, b"this is no archive").unwrap();
    c.fails(["image", "import", broken.to_str().unwrap()]);
    c.finish();
}

#[test]
fn second_daemon_cannot_have_the_same_directories() {
    let c = Containerd::start(Shim::Debian);
    let log = c.directory().join("second.log");
    let status = c.command(fs::File::create(&log).unwrap()).status().unwrap();
    assert!(!status.success());
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("is in use by another engine (process "), "{said}");
    c.ok(["version"]);
    c.finish();
}

#[test]
fn tasks_of_another_namespace_are_not_seen() {
    let c = Containerd::with_image(Shim::Debian);
    c.run_detached("mine", &["sleep", "1000"]);
    let output = Command::new(peer("ctr"))
        .arg("--address")
        .arg(c.socket())
        .args(["--namespace", "elsewhere", "task", "ls", "-q"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    c.finish();
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn configuration_file_is_heeded_and_dumped() {
    let mut c = Containerd::start(Shim::Debian);
    c.terminate();
    assert!(!c.socket().exists(), "the socket outlives the daemon");
    let (file, port) = (c.directory().join("config.toml"), free_port());
    let socket = c.directory().join("other.sock");
    let root = c.directory().join("root");
    let state = c.directory().join("state");
    let text = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\noom_score = 1\n[grpc]\naddress = {socket:?}\n\
         [metrics]\naddress = \"127.0.0.1:{port}\"\n"
    );
    fs::write(&file, text).unwrap();
    let program = ours("containerd-rs");
    let dump = Command::new(&program)
        .arg("--config")
        .arg(&file)
        .args(["config", "dump"])
        .output()
        .unwrap();
    let dumped = String::from_utf8(dump.stdout).unwrap();
    assert!(dumped.contains(&format!("address = {socket:?}")), "{dumped}");
    assert!(String::from_utf8_lossy(&dump.stderr).contains("oom_score in the configuration has no effect"));
    let log = c.directory().join("configured.log");
    let mut child = Command::new(&program)
        .arg("--config")
        .arg(&file)
        .stderr(fs::File::create(&log).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    c.until("metrics", || {
        metrics(port).is_some_and(|text| text.contains("containerd_rs_tasks 0"))
    });
    assert!(socket.exists());
    signal(child.id(), Signal::SIGINT);
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    c.start_again();
    c.finish();
}

fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /v1/metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// As shims of old publish: through the daemon's own program.
#[test]
fn events_are_published_through_the_program() {
    let c = Containerd::start(Shim::Debian);
    let mut child = c
        .ctr(["events", "topic==/tasks/start"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let name = "containerd.events.TaskStart";
    let mut event = vec![0x0a, u8::try_from(name.len()).unwrap()];
    event.extend(name.bytes());
    event.extend([0x12, 3, 0x0a, 1, b'x']);
    let publish = || {
        let mut publish = Command::new(ours("containerd-rs"))
            .arg("--address")
            .arg(c.socket())
            .args(["publish", "--namespace", c.mark(), "--topic", "/tasks/start"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        publish.stdin.take().unwrap().write_all(&event).unwrap();
        assert!(publish.wait().unwrap().success());
    };
    // Until the subscription is there, nobody hears it.
    let line = std::thread::scope(|scope| {
        let reader = scope.spawn(|| lines.next());
        while !reader.is_finished() {
            publish();
        }
        reader.join().unwrap().unwrap().unwrap()
    });
    assert!(
        line.contains(c.mark()) && line.contains(r#"{"container_id":"x"}"#),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    c.finish();
}

#[test]
fn image_is_pulled_from_a_registry_and_pushed_to_it() {
    let c = Containerd::with_image(Shim::Debian);
    let port = free_port();
    let config = c.directory().join("registry.yml");
    let store = c.directory().join("registry");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        store.display()
    );
    fs::write(&config, text).unwrap();
    let mut registry = Command::new(peer("docker-registry"))
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    c.until("the registry", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let name = format!("127.0.0.1:{port}/test/busybox:1");
    c.ok(["image", "tag", IMAGE, &name]);
    c.ok(["image", "push", "--plain-http", &name]);
    c.ok(["image", "rm", "--sync", IMAGE, &name]);
    assert_eq!(c.ok(["content", "ls", "-q"]), "");
    c.ok(["image", "pull", "--plain-http", &name]);
    let said = c.ok(["run", "--rm", &name, "pulled", "echo", "from", "the", "registry"]);
    assert_eq!(said, "from the registry\n");
    registry.kill().unwrap();
    registry.wait().unwrap();
    c.finish();
}

fn output_and_exit_code(shim: Shim) {
    let c = Containerd::with_image(shim);
    let script = "echo out; echo err >&2; id -u; hostname > /dev/null; exit 3";
    let output = c.output(c.run_args(&["--rm"], "one", &["sh", "-c", script]));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("err\n"));
    // `ctr` itself loses the end of an input that is over before the task is made, whatever the daemon.
    let mut run = c.ctr(c.run_args(&["--rm"], "two", &["cat"]));
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"through\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "through");
    c.until("the task", || {
        c.task("two").is_some_and(|(_, status)| status == "RUNNING")
    });
    drop(input);
    assert!(child.wait().unwrap().success());
    let said = c.fails(c.run_args(&["--rm"], "three", &["/no/such/program"]));
    assert!(
        said.contains("failed to create shim task") || said.contains("no such file"),
        "{said}"
    );
    assert!(c.task("three").is_none());
    c.finish();
}

fn terminal(shim: Shim) {
    let c = Containerd::with_image(shim);
    let ctr = c.ctr(c.run_args(&["--rm", "-t"], "term", &["sh"]));
    let quoted = |s: &std::ffi::OsStr| format!("'{}'", s.to_str().unwrap());
    let line: Vec<String> = std::iter::once(ctr.get_program())
        .chain(ctr.get_args())
        .map(quoted)
        .collect();
    let line = format!(
        "stty rows 33 cols 77; exec {}",
        line.join(" ").replace("'-s' 'KILL'", "'--foreground' '-s' 'KILL'")
    );
    let mut child = Command::new(peer("script"))
        .args(["-qefc", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    c.until("the task", || {
        c.task("term").is_some_and(|(_, status)| status == "RUNNING")
    });
    keys.write_all(b"tty; stty size; exit 5\n").unwrap();
    keys.flush().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect::<Vec<_>>()
        .join("\n");
    let status = child.wait().unwrap();
    drop(keys);
    assert!(output.contains("/dev/pts/0"), "{output:?}");
    assert!(output.contains("33 77"), "{output:?}");
    assert_eq!(status.code(), Some(5), "{output:?}");
    c.finish();
}

fn life_of_a_task(shim: Shim) {
    let c = Containerd::with_image(shim);
    c.run_detached("life", &["sleep", "1000"]);
    let (pid, status) = c.task("life").unwrap();
    assert_eq!(status, "RUNNING");
    assert_eq!(
        c.ok(["task", "exec", "--exec-id", "e1", "life", "echo", "inside"]),
        "inside\n"
    );
    let output = c.output(["task", "exec", "--exec-id", "e1", "life", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "an exec id may be used again");
    assert!(c.ok(["task", "ps", "life"]).contains(&pid.to_string()));
    c.ok(["task", "pause", "life"]);
    assert_eq!(c.task("life").unwrap().1, "PAUSED");
    c.ok(["task", "resume", "life"]);
    assert_eq!(c.task("life").unwrap().1, "RUNNING");
    let metrics: serde_json::Value =
        serde_json::from_str(&c.ok(["task", "metrics", "--format", "json", "life"])).unwrap();
    assert!(metrics["pids"]["current"].as_u64().is_some_and(|n| n >= 1), "{metrics}");
    assert!(
        metrics["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0),
        "{metrics}"
    );
    let said = c.fails(["task", "rm", "life"]);
    assert!(
        said.contains("must be stopped") || said.contains("failed precondition"),
        "{said}"
    );
    let said = c.fails(c.run_args(&["-d"], "life", &["true"]));
    assert!(said.contains("already exists"), "{said}");
    c.ok(["task", "kill", "-s", "9", "life"]);
    c.until("the end", || {
        c.task("life").is_some_and(|(_, status)| status == "STOPPED")
    });
    let said = c.fails(["task", "exec", "--exec-id", "e2", "life", "true"]);
    assert!(
        said.contains("stopped state") || said.contains("failed precondition"),
        "{said}"
    );
    assert_eq!(removed_with(&c, "life"), "137");
    assert!(c.task("life").is_none());
    c.ok(["task", "start", "-d", "life"]);
    assert_ne!(c.task("life").unwrap().0, pid, "a new task of the same container");
    c.finish();
}

fn events_in_order(shim: Shim) {
    let c = Containerd::with_image(shim);
    let mut events = c.ctr(["events"]);
    let mut child = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The subscription is there when what is published after it arrives.
    let mut probes = 0;
    let probe = |n: usize| c.ok(["namespaces", "create", &format!("{}p{n}", c.mark())]);
    let first = std::thread::scope(|scope| {
        // The collector may have something to tell first.
        let reader =
            scope.spawn(|| lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("/namespaces/create"))));
        while !reader.is_finished() {
            probe(probes);
            probes += 1;
        }
        reader.join().unwrap()
    });
    assert!(first.is_some(), "no event came");
    let output = c.output(c.run_args(&["--rm"], "ev", &["sh", "-c", "exit 4"]));
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        let topic = line
            .split_whitespace()
            .find(|word| word.starts_with('/'))
            .unwrap_or_default()
            .to_owned();
        if topic.starts_with("/tasks/") {
            assert!(line.contains(c.mark()), "{line}");
            assert!(topic != "/tasks/exit" || line.contains("\"exit_status\":4"), "{line}");
        }
        let over = topic == "/containers/delete";
        seen.push(topic);
        if over {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    seen.retain(|topic| !topic.starts_with("/namespaces/") && !topic.starts_with("/content/"));
    let expected = [
        "/snapshot/prepare",
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
        "/snapshot/remove",
        "/containers/delete",
    ];
    assert_eq!(seen, expected);
    for n in 0..probes {
        c.ok(["namespaces", "rm", &format!("{}p{n}", c.mark())]);
    }
    c.finish();
}

fn daemon_killed_while_containers_run(shim: Shim) {
    let mut c = Containerd::with_image(shim);
    c.run_detached("stays", &["sleep", "1000"]);
    c.run_detached("ends", &["sleep", "1000"]);
    c.run_detached("shimless", &["sleep", "1000"]);
    let (stays, ends, shimless) = (
        c.task("stays").unwrap().0,
        c.task("ends").unwrap().0,
        c.task("shimless").unwrap().0,
    );
    for round in 0..3 {
        c.kill9();
        if round == 1 {
            signal(ends, Signal::SIGTERM);
            signal(ends, Signal::SIGKILL);
            signal(parent(shimless), Signal::SIGKILL);
        }
        c.start_again();
        assert_eq!(c.task("stays"), Some((stays, "RUNNING".to_owned())), "round {round}");
        let exec = format!("e{round}");
        assert_eq!(
            c.ok(["task", "exec", "--exec-id", &exec, "stays", "echo", "here"]),
            "here\n"
        );
    }
    assert_eq!(c.task("ends").unwrap().1, "STOPPED");
    assert_eq!(removed_with(&c, "ends"), "137", "its true exit code");
    c.until("the task without a shim to go", || c.task("shimless").is_none());
    c.until("the container without a shim to be killed", || !runs(shimless));
    c.finish();
}

fn lost_shim_is_cleared_up(shim: Shim) {
    let c = Containerd::with_image(shim);
    c.run_detached("lost", &["sleep", "1000"]);
    let pid = c.task("lost").unwrap().0;
    let mut wait = c
        .ctr(["task", "attach", "lost"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    c.until("attach to wait for the end", || c.log().contains("Tasks/Wait"));
    signal(parent(pid), Signal::SIGKILL);
    c.until("the task to go", || c.task("lost").is_none());
    assert_eq!(wait.wait().unwrap().code(), Some(137));
    c.until("the container to be killed", || !runs(pid));
    c.until("the bundle to go", || {
        fs::read_dir(c.bundles()).unwrap().next().is_none()
    });
    c.finish();
}

/// Removes a task that ended, and answers with the exit code that `ctr` tells.
fn removed_with(c: &Containerd, id: &str) -> String {
    let output = c.output(["task", "rm", id]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, code) = said
        .split_once("exit with non-zero exit code ")
        .unwrap_or_else(|| panic!("{output:?}"));
    code.chars().take_while(char::is_ascii_digit).collect()
}

/// Whether a process runs; one that is only not reaped yet does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The shim of a container is the parent of its first process.
fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn many_runs_leave_nothing(shim: Shim) {
    let c = Containerd::with_image(shim);
    // What is asked of the original is not to leave anything; its speed is its own affair.
    let runs = if matches!(shim, Shim::Ours) { 100 } else { 40 };
    for n in 0..runs {
        let id = format!("s{n}");
        assert_eq!(c.ok(c.run_args(&["--rm"], &id, &["echo", "x"])), "x\n");
    }
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let c = &c;
            scope.spawn(move || {
                for n in 0..8 {
                    let id = format!("p{worker}-{n}");
                    let output = c.output(c.run_args(&["--rm"], &id, &["sh", "-c", "exit 9"]));
                    assert_eq!(output.status.code(), Some(9), "{output:?}");
                }
            });
        }
    });
    assert_eq!(c.ok(["snapshot", "ls"]).lines().count(), 2, "only the image's layer");
    c.finish();
}

macro_rules! with_both_shims {
    ($($name:ident)*) => {
        mod debian_shim {
            $(#[test] fn $name() { super::$name(engine_tests::containerd::Shim::Debian) })*
        }
        mod our_shim {
            $(#[test] fn $name() { super::$name(engine_tests::containerd::Shim::Ours) })*
        }
    };
}

with_both_shims! {
    output_and_exit_code
    terminal
    life_of_a_task
    events_in_order
    daemon_killed_while_containers_run
    lost_shim_is_cleared_up
    many_runs_leave_nothing
}
