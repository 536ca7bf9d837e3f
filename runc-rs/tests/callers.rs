//! What the programs that call a runtime rely on: descriptors handed over, pid files, logs, events, and a list that survives a broken record.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bundle, Outcome};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::{Value, json};

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn received(stream: &UnixStream) -> OwnedFd {
    let (mut data, mut space) = ([0_u8; 64], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut data)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.expect("no descriptor")
}

/// A command of which nobody reads the output, since a container keeps it.
fn quiet(bundle: &Bundle, args: &[&str]) -> Outcome {
    let log = bundle.dir.path().join("quiet.log");
    let file = fs::File::create(&log).unwrap();
    let mut command = bundle.command(args);
    let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: String::new(),
        stderr: fs::read_to_string(log).unwrap(),
    }
}

/// A shell that opens descriptors and then becomes the runtime.
fn shell(bundle: &Bundle, script: &str, args: &str) -> Outcome {
    let line = format!(
        "{script} exec {} --root {} {args}",
        common::program().display(),
        bundle.state_root().display()
    );
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", &line])
        .current_dir(bundle.dir.path())
        .stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
fn a_pidfd_arrives_at_the_socket() {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    let path = bundle.dir.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    for command in [&["create"][..], &["run", "-d"]] {
        let args: Vec<&str> = command
            .iter()
            .copied()
            .chain(["--pidfd-socket", socket, &bundle.id])
            .collect();
        quiet(&bundle, &args).ok();
        let pidfd = received(&listener.accept().unwrap().0);
        pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
        wait_until("the end", || bundle.state()["status"] == "stopped");
        bundle.call(&["delete", &bundle.id]).ok();
    }
    bundle.sleeping();
    quiet(
        &bundle,
        &["exec", "-d", "--pidfd-socket", socket, &bundle.id, "sleep", "1000"],
    )
    .ok();
    let pidfd = received(&listener.accept().unwrap().0);
    let number = |bundle: &Bundle| bundle.call(&["ps", "-f", "json", &bundle.id]).ok().split(',').count();
    assert_eq!(number(&bundle), 2);
    pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    wait_until("the end of the exec", || number(&bundle) == 1);
    let refused = bundle
        .call(&["exec", "--pidfd-socket", "/nope", &bundle.id, "true"])
        .err();
    assert!(
        refused.contains("dial unix /nope: connect: no such file or directory"),
        "{refused}"
    );
}

#[test]
fn descriptors_are_passed_on_and_no_others() {
    let mut bundle = Bundle::new();
    // The shell's own read of the directory takes one more, which is gone when its name is looked at.
    bundle
        .script("for f in /proc/self/fd/*; do [ -e $f ] && echo -n ${f##*/}; done; echo \" $LISTEN_FDS $LISTEN_PID\"");
    bundle.write_config();
    let open = "exec 3</dev/null 4</dev/null 5</dev/null;";
    let run = |script: &str, flags: &str| shell(&bundle, script, &format!("run {flags} {}", bundle.id));
    for (script, flags, seen) in [
        (open, "", "012  \n"),
        (open, "--preserve-fds 1", "0123  \n"),
        (open, "--preserve-fds=3", "012345  \n"),
        (
            "exec 3</dev/null 4</dev/null; LISTEN_FDS=1 LISTEN_PID=$$",
            "",
            "0123 1 1\n",
        ),
        (
            "exec 3</dev/null 4</dev/null; LISTEN_FDS=1 LISTEN_PID=$$",
            "--preserve-fds 1",
            "01234 1 1\n",
        ),
        ("exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=1", "", "012  \n"),
        ("exec 3</dev/null; LISTEN_FDS=1", "", "012  \n"),
    ] {
        assert_eq!(run(script, flags).ok(), seen, "{script} {flags}");
    }
    let missing = run("exec 3</dev/null;", "--preserve-fds 2").err();
    assert!(
        missing.contains("runc run failed: unable to stat preserved-fd 1 (of 2): no such file or directory"),
        "{missing}"
    );
    bundle.sleeping();
    let list = "'for f in /proc/self/fd/*; do [ -e $f ] && echo -n ${f##*/}; done; :'";
    let inside = |flags: &str| shell(&bundle, open, &format!("exec {flags} {} /bin/sh -c {list}", bundle.id));
    assert_eq!(inside("").ok(), "012");
    assert_eq!(inside("--preserve-fds 2").ok(), "01234");
    assert!(
        inside("--preserve-fds 9")
            .err()
            .contains("exec failed: unable to stat preserved-fd 3 (of 9)")
    );
}

#[test]
fn pid_files_are_written_whole_or_the_container_is_gone() {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    let pid = |name: &str| fs::read_to_string(bundle.dir.path().join(name)).unwrap();
    fs::write(bundle.dir.path().join("pid"), "a longer text that was there before").unwrap();
    quiet(&bundle, &["create", "--pid-file", "pid", &bundle.id]).ok();
    assert_eq!(pid("pid"), bundle.state()["pid"].to_string());
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    quiet(&bundle, &["run", "-d", "--pid-file", "pid", &bundle.id]).ok();
    assert_eq!(pid("pid"), bundle.state()["pid"].to_string());
    quiet(
        &bundle,
        &["exec", "-d", "--pid-file", "exec-pid", &bundle.id, "sleep", "1000"],
    )
    .ok();
    let processes: Vec<u32> = serde_json::from_str(&bundle.call(&["ps", "-f", "json", &bundle.id]).ok()).unwrap();
    assert!(processes.contains(&pid("exec-pid").parse().unwrap()));
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    let words = quiet(&bundle, &["run", "-d", "--pid-file", "/nonexistent/pid", &bundle.id]).err();
    assert!(words.contains("runc run failed: "), "{words}");
    bundle.assert_nothing_left();
}

#[test]
fn run_keeps_a_container_only_where_it_is_asked_to() {
    let mut bundle = Bundle::new();
    bundle.script("exit 3");
    bundle.write_config();
    assert_eq!(bundle.call(&["run", "--keep", "--no-subreaper", &bundle.id]).code, 3);
    assert_eq!(bundle.state()["status"], "stopped");
    bundle.call(&["delete", &bundle.id]).ok();
    assert_eq!(
        bundle.call(&["run", "--no-pivot", "--no-new-keyring", &bundle.id]).code,
        3
    );
    bundle.assert_nothing_left();
}

#[test]
fn signals_to_a_foreground_runtime_reach_the_container() {
    let mut bundle = Bundle::new();
    let marker = bundle.rootfs().join("ready");
    bundle.script("trap 'exit 9' TERM; trap 'echo usr1' USR1; touch /ready; while :; do sleep 0.02; done");
    bundle.write_config();
    let runtime = bundle
        .command(&["run", &bundle.id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the container", || marker.exists());
    let kill = |signal: &str| {
        Command::new("kill")
            .args([signal, &runtime.id().to_string()])
            .status()
            .unwrap()
    };
    kill("-USR1");
    kill("-TERM");
    let output = runtime.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(9), b"usr1\n".to_vec()));
    bundle.assert_nothing_left();
}

#[test]
fn the_log_is_as_go_runc_reads_it() {
    let bundle = Bundle::new();
    let log = bundle.dir.path().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json", "--debug"];
    // Before and after the command, again and again: a log is added to.
    let before: Vec<&str> = flags.into_iter().chain(["state", "nope"]).collect();
    let after: Vec<&str> = ["state", "nope"].into_iter().chain(flags).collect();
    for args in [before, after] {
        let outcome = bundle.call(&args);
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (1, "container does not exist\n")
        );
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let levels: Vec<&str> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["debug", "error", "debug", "error"]);
    for line in lines {
        assert!(
            line["msg"].is_string() && line["time"].as_str().unwrap().ends_with('Z'),
            "{line}"
        );
    }
    let plain = bundle.call(&["--debug", "state", "nope"]).err();
    assert!(
        plain.contains("level=debug msg=\"") && plain.ends_with("level=error msg=\"container does not exist\"\n"),
        "{plain}"
    );
}

#[test]
fn events_come_while_the_container_works_and_runs_out_of_memory() {
    let mut bundle = Bundle::new();
    bundle.script("sleep 0.2; while [ ! -e /end ]; do dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; done");
    bundle.set(
        "/linux/resources",
        json!({"memory": {"limit": 16 << 20}, "pids": {"limit": 20}}),
    );
    bundle.create().ok();
    let mut command = bundle.command(&["events", "--interval", "50ms", &bundle.id]);
    let mut watcher = command.stdout(Stdio::piped()).spawn().unwrap();
    bundle.start().ok();
    let (mut stats, mut ooms) = (Vec::new(), 0);
    for line in BufReader::new(watcher.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(event["id"], bundle.id.as_str());
        match event["type"].as_str().unwrap() {
            "oom" => {
                assert_eq!(event.as_object().unwrap().len(), 2);
                ooms += 1;
            }
            "stats" => stats.push(event["data"].clone()),
            other => panic!("an event {other}"),
        }
        if ooms >= 2 && stats.len() >= 5 {
            // The events end with the container.
            fs::write(bundle.rootfs().join("end"), "").unwrap();
        }
    }
    assert!(watcher.wait().unwrap().success());
    assert_eq!(stats[0]["pids"]["limit"], 20);
    assert_eq!(stats[0]["memory"]["usage"]["limit"], 16 << 20);
    let total = |data: &Value| data["cpu"]["usage"]["total"].as_u64().unwrap();
    assert!(total(&stats[0]) < total(stats.last().unwrap()));
}

#[test]
fn a_reader_of_events_may_go_away() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let mut command = bundle.command(&["events", "--interval", "20ms", &bundle.id]);
    let mut watcher = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with('{'));
    wait_until("the end of events", || watcher.try_wait().unwrap().is_some());
}

#[test]
fn what_cannot_be_read_hides_no_container() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let root = bundle.state_root();
    for (name, record) in [
        ("empty", None),
        ("garbage", Some("{")),
        ("other", Some("{}")),
        ("nothing", Some("")),
    ] {
        fs::create_dir(root.join(name)).unwrap();
        if let Some(record) = record {
            fs::write(root.join(name).join("state.json"), record).unwrap();
        }
    }
    fs::write(root.join("a file"), "").unwrap();
    fs::create_dir(root.join("no id!")).unwrap();
    let listed = bundle.call(&["list"]);
    assert_eq!(listed.code, 0);
    assert_eq!(listed.stdout.lines().count(), 2, "{}", listed.stdout);
    for name in ["garbage", "other", "nothing"] {
        assert!(
            listed.stderr.contains(&format!("load container {name}: ")),
            "{}",
            listed.stderr
        );
    }
    assert_eq!(bundle.call(&["list", "-q"]).stdout, format!("{}\n", bundle.id));
    let json: Value = serde_json::from_str(&bundle.call(&["list", "-f", "json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_ne!(bundle.call(&["state", "garbage"]).code, 0);
}

/// The messages that a service manager gets while `act` goes on, without the barrier's descriptors.
fn told(manager: &UnixDatagram, act: impl FnOnce() -> Outcome + Send) -> Vec<String> {
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        let mut told = Vec::new();
        let mut message = [0_u8; 512];
        loop {
            let length = manager.recv(&mut message).expect("no message");
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text == "BARRIER=1" {
                break;
            }
            told.push(text);
        }
        acting.join().unwrap().ok();
        told
    })
}

#[test]
fn readiness_is_passed_on_to_the_service_manager() {
    let mut bundle = Bundle::new();
    let socat = Path::new("/usr/bin/socat");
    fs::copy(socat, bundle.rootfs().join("bin/socat")).expect("socat is not installed");
    bundle.add_libraries(socat);
    bundle.script("[ -e /quick ] && exit; sleep 0.1; printf 'STATUS=up\\nREADY=1' | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 1000");
    bundle.write_config();
    let path = bundle.dir.path().join("manager.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let with = |args: &[&str]| {
        let log = fs::File::create(bundle.dir.path().join("notify.log")).unwrap();
        let mut command = bundle.command(args);
        command
            .env("NOTIFY_SOCKET", &path)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Outcome {
            code: command.status().unwrap().code().unwrap_or(-1),
            stdout: String::new(),
            stderr: fs::read_to_string(bundle.dir.path().join("notify.log")).unwrap(),
        }
    };
    let main = |bundle: &Bundle| format!("MAINPID={}\n", bundle.state()["pid"]);
    assert_eq!(
        told(&manager, || with(&["run", "-d", &bundle.id])),
        ["READY=1\n".to_owned(), main(&bundle)]
    );
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    with(&["create", &bundle.id]).ok();
    assert_eq!(
        told(&manager, || with(&["start", &bundle.id])),
        ["READY=1\n".to_owned(), main(&bundle)]
    );
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    let end = || {
        let outcome = with(&["run", &bundle.id]);
        Outcome {
            code: outcome.code - 0x80 - 9,
            ..outcome
        }
    };
    let kill = || wait_until("the container", || bundle.call(&["kill", &bundle.id, "KILL"]).code == 0);
    let foreground = std::thread::scope(|scope| {
        let telling = scope.spawn(|| told(&manager, end));
        wait_until("its program", || {
            bundle.call(&["ps", &bundle.id]).stdout.contains("sleep 1000")
        });
        std::thread::sleep(Duration::from_millis(100));
        kill();
        telling.join().unwrap()
    });
    assert_eq!(foreground, ["READY=1\n"]);
    // One that ends without a word is waited for no longer.
    fs::write(bundle.rootfs().join("quick"), "").unwrap();
    with(&["run", "-d", &bundle.id]).ok();
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn an_update_reaches_the_kernel_whichever_way_it_is_given() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/resources", json!({"cpu": {"quota": 60_000, "period": 100_000}}));
    bundle.sleeping();
    let id = bundle.id.clone();
    let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}").replace("ID", &id)).unwrap();
    let flags = [
        ("--cpu-burst", "10000", "cpu/ID/cpu.cfs_burst_us", "10000"),
        ("--cpu-quota", "50000", "cpu/ID/cpu.cfs_quota_us", "50000"),
        ("--cpu-share", "777", "cpu/ID/cpu.shares", "777"),
        ("--cpuset-cpus", "0", "cpuset/ID/cpuset.cpus", "0"),
        ("--cpuset-mems", "0", "cpuset/ID/cpuset.mems", "0"),
        ("--memory", "64m", "memory/ID/memory.limit_in_bytes", "67108864"),
        (
            "--memory-reservation",
            "32MiB",
            "memory/ID/memory.soft_limit_in_bytes",
            "33554432",
        ),
        (
            "--memory-swap",
            "128m",
            "memory/ID/memory.memsw.limit_in_bytes",
            "134217728",
        ),
        ("--pids-limit", "-1", "pids/ID/pids.max", "max"),
        ("--cpu-idle", "1", "cpu/ID/cpu.idle", "1"),
    ];
    for (flag, value, file, want) in flags {
        bundle.call(&["update", flag, value, &id]).ok();
        assert_eq!(read(file).trim(), want, "{flag}");
    }
    let mut command = bundle.command(&["update", "--resources", "-", "--pids-limit", "5", &id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let resources = json!({"pids": {"limit": 33}, "cpu": {"idle": 0}, "devices": [{"allow": false, "access": "rwm"}]});
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), resources.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    // Flags are ignored beside a file, and devices in it.
    assert_eq!(
        (read("pids/ID/pids.max").trim(), read("cpu/ID/cpu.idle").trim()),
        ("33", "0")
    );
    assert_eq!(bundle.exec(&["head", "-c", "1", "/dev/zero"]).ok(), "\0");
}
