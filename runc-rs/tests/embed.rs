//! Containers by builder and handle: what a program that embeds the library relies on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::Bundle;
use runc_rs::{Child, Container, ContainerBuilder, Error, Event, Runtime, Status, Stdio};
use serde_json::json;

/// A builder over the test's bundle, without a `config.json`.
fn builder(bundle: &Bundle, script: &str) -> ContainerBuilder {
    Runtime::new(bundle.state_root())
        .container(&bundle.id)
        .rootfs(bundle.rootfs())
        .cgroups_path(format!("/{}", bundle.id))
        .args(["/bin/sh", "-c", script])
        .env("PATH", "/bin")
        .stdin(Stdio::Null)
        .stderr(Stdio::Null)
}

fn code(child: Child) -> Option<i32> {
    child.wait_with_output().unwrap().status.code()
}

#[test]
fn parts_make_a_container() {
    let bundle = Bundle::new();
    let host = bundle.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("told"), "told\n").unwrap();
    let script =
        "hostname; id -u; id -g; pwd; echo $X; cat /mnt/told; touch /mnt/x || echo ro; touch /y || echo root ro";
    let (container, child) = builder(&bundle, script)
        .hostname("parts")
        .user(7, 8)
        .cwd("/tmp")
        .env("X", "1")
        .env("X", "2")
        .bind(&host, "/mnt", true)
        .annotation("a", "b")
        .edit(|spec| {
            spec.set_domainname(Some("edited".into()));
        })
        .stdout(Stdio::Piped)
        .create()
        .unwrap();
    let state = container.state().unwrap();
    assert_eq!((state.status, state.pid), (Status::Created, child.pid()));
    assert_eq!(state.annotations["a"], "b");
    container.start().unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "parts\n7\n8\n/tmp\n2\ntold\nro\nroot ro\n");
    assert!(output.status.success());
    container.delete().unwrap();
    bundle.assert_nothing_left();
}

#[test]
fn a_bundle_makes_a_container_too() {
    let mut bundle = Bundle::new();
    bundle.script("echo $V; exit 3").set("/process/terminal", json!(true));
    bundle.write_config();
    let runtime = Runtime::new(bundle.state_root());
    let made = runtime
        .container(&bundle.id)
        .bundle(bundle.dir.path())
        .env("V", "5")
        .stdout(Stdio::Piped)
        .run();
    let (container, child) = made.unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"5\n"[..], Some(3)));
    container.delete().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let refused = runtime.container(&bundle.id).bundle(empty.path()).create();
    assert!(matches!(refused, Err(Error::NoConfig(_))), "{refused:?}");
}

#[test]
fn every_kind_of_stream() {
    let bundle = Bundle::new();
    let file = bundle.dir.path().join("out");
    let script = "cat; echo err >&2";
    let (container, mut child) = builder(&bundle, script)
        .stdin(Stdio::Piped)
        .stdout(fs::File::create(&file).unwrap())
        .stderr(Stdio::Piped)
        .run()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"typed").unwrap();
    // More than a pipe holds, on both: nobody waits for the other.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "typed");
    container.delete().unwrap();
    let large = "i=0; while [ $i -lt 30 ]; do head -c 9999 /dev/zero >&2; head -c 9999 /dev/zero; i=$((i+1)); done";
    let (container, child) = builder(&bundle, large)
        .stdout(Stdio::Piped)
        .stderr(Stdio::Piped)
        .run()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (299_970, 299_970));
    container.delete().unwrap();
}

#[test]
fn a_terminal_has_a_size_that_changes() {
    let bundle = Bundle::new();
    let script = "trap 'stty size; exit 2' WINCH; stty size; while :; do sleep 0.1; done";
    let (container, mut child) = builder(&bundle, script).terminal(10, 20).run().unwrap();
    let mut terminal = child.terminal.take().unwrap();
    assert_eq!(terminal.size().unwrap(), (10, 20));
    let mut first = [0; 7];
    terminal.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"10 20\r\n");
    terminal.resize(30, 40).unwrap();
    let mut rest = String::new();
    terminal.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "30 40\r\n");
    assert_eq!(code(child), Some(2));
    container.delete().unwrap();
}

#[test]
fn ends_are_told_as_often_as_asked() {
    let bundle = Bundle::new();
    let (container, mut child) = builder(&bundle, "exec sleep 1000").run().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(child.wait_timeout(Duration::from_millis(5)).unwrap().is_none());
    child.signal(0).unwrap();
    container.signal(9).unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap().unwrap().signal(), Some(9));
    // Its number may be somebody else's by now; its descriptor is not.
    child.signal(9).unwrap();
    assert!(matches!(container.signal(9), Err(Error::NotRunning(_))));
    container.delete().unwrap();
}

#[test]
fn execs_have_their_own_settings() {
    let bundle = Bundle::new();
    let (container, mut init) = builder(&bundle, "exec sleep 1000").run().unwrap();
    let told = container
        .exec(["/bin/sh", "-c", "id -u; id -g; pwd; echo $Y; exit 4"])
        .user(5, 6)
        .cwd("/tmp")
        .env("PATH", "/bin")
        .env("Y", "z")
        .stdin(Stdio::Null)
        .stdout(Stdio::Piped)
        .start()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "5\n6\n/tmp\nz\n");
    assert_eq!(told.status.code(), Some(4));
    let missing = container.exec(["/bin/nope"]).start().unwrap_err();
    assert!(missing.to_string().contains("no such file or directory"), "{missing}");
    container.pause().unwrap();
    let paused = container.exec(["/bin/true"]).start();
    assert!(
        matches!(
            paused,
            Err(Error::WrongStatus {
                status: Status::Paused,
                ..
            })
        ),
        "{paused:?}"
    );
    container.resume().unwrap();
    container.delete_by_force().unwrap();
    init.wait().unwrap();
    bundle.assert_nothing_left();
}

#[test]
fn dropping_handles_ends_nothing() {
    let bundle = Bundle::new();
    let runtime = Runtime::new(bundle.state_root());
    let pid = {
        let (_, child) = builder(&bundle, "exec sleep 1000").run().unwrap();
        child.pid()
    };
    let container = runtime.open(&bundle.id).unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    container.delete_by_force().unwrap();
    assert!(matches!(runtime.open(&bundle.id), Err(Error::NotFound(_))));
    // The zombie is still this program's.
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
}

#[test]
fn events_come_and_end_with_the_container() {
    let bundle = Bundle::new();
    let (container, mut child) = builder(&bundle, "exec sleep 1000").run().unwrap();
    let mut events = container.events(Duration::from_millis(1)).unwrap();
    for _ in 0..3 {
        assert!(matches!(events.next(), Some(Ok(Event::Stats(_)))));
    }
    container.signal(9).unwrap();
    for event in events.by_ref() {
        event.unwrap();
    }
    child.wait().unwrap();
    assert!(matches!(
        container.events(Duration::from_secs(1)),
        Err(Error::NotRunning(_))
    ));
    container.delete().unwrap();
}

#[test]
fn running_out_of_memory_is_told() {
    let bundle = Bundle::new();
    let limits = serde_json::from_value(json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}})).unwrap();
    let script = "cat <&0; exec dd if=/dev/zero of=/dev/null bs=64M count=1";
    let made = builder(&bundle, script).resources(limits).stdin(Stdio::Piped).run();
    let (container, mut child) = made.unwrap();
    let mut events = container.events(Duration::from_secs(600)).unwrap();
    drop(child.stdin.take());
    assert!(matches!(events.next(), Some(Ok(Event::OutOfMemory))));
    assert!(!child.wait().unwrap().success());
    container.delete().unwrap();
}

#[test]
fn two_state_directories_know_nothing_of_each_other() {
    let bundles = [Bundle::new(), Bundle::new()];
    let made = bundles.each_ref().map(|bundle| {
        // The same id in both.
        Runtime::new(bundle.state_root())
            .container("same")
            .rootfs(bundle.rootfs())
            .cgroups_path(format!("/{}", bundle.id))
            .args(["/bin/sleep", "1000"])
            .run()
            .unwrap()
    });
    let [(first, mut a), (second, mut b)] = made;
    first.clone().delete_by_force().unwrap();
    a.wait().unwrap();
    assert!(matches!(first.state(), Err(Error::NotFound(_))));
    assert_eq!(second.status().unwrap(), Status::Running);
    second.delete_by_force().unwrap();
    b.wait().unwrap();
}

#[test]
fn handles_go_from_thread_to_thread() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Runtime>();
    is_send_and_sync::<ContainerBuilder>();
    is_send_and_sync::<Container>();
    is_send_and_sync::<Child>();
    is_send_and_sync::<Error>();
}

#[test]
fn descriptors_end_with_their_handles() {
    let bundle = Bundle::new();
    let open = || {
        fs::read_dir(format!("/proc/{}/fd", std::process::id()))
            .unwrap()
            .count()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    let out: OwnedFd = writer.into();
    let (container, mut child) = builder(&bundle, "echo x").stdout(out).run().unwrap();
    // Our copy of the other end is closed: this ends.
    assert_eq!(std::io::read_to_string(reader).unwrap(), "x\n");
    assert!(child.as_fd().try_clone_to_owned().is_ok());
    child.wait().unwrap();
    container.delete().unwrap();
    // Other tests open theirs at the same time, so only a flood would be seen here.
    let before = open();
    for _ in 0..20 {
        let (container, child) = builder(&bundle, "exit 0").stdout(Stdio::Piped).run().unwrap();
        assert_eq!(code(child), Some(0));
        container.delete().unwrap();
    }
    assert!(open() < before + 20 * 3, "{before} to {}", open());
}

/// What the next test's tracer runs: this very test, told where.
fn create_and_start(directory: &Path) {
    let (container, child) = Runtime::new(directory.join("state"))
        .container(std::env::var("RUNC_RS_TEST_ID").unwrap())
        .rootfs(directory.join("rootfs"))
        .args(["/bin/true"])
        .run()
        .unwrap();
    assert_eq!(code(child), Some(0));
    container.delete().unwrap();
}

#[test]
fn no_second_program_is_executed() {
    if let Some(directory) = std::env::var_os("RUNC_RS_TEST_EMBEDS") {
        return create_and_start(Path::new(&directory));
    }
    let bundle = Bundle::new();
    let trace = bundle.dir.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "no_second_program_is_executed"])
        .env("RUNC_RS_TEST_EMBEDS", bundle.dir.path())
        .env("RUNC_RS_TEST_ID", &bundle.id)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let trace = fs::read_to_string(trace).unwrap();
    let executed: Vec<&str> = trace.lines().filter(|line| line.contains("exec")).collect();
    // The embedding program by strace itself, and the container's.
    assert_eq!(executed.len(), 2, "{trace}");
    assert!(executed[1].contains("execve(\"/bin/true\", [\"/bin/true\"]"), "{trace}");
    bundle.assert_nothing_left();
}
