//! Hooks that fail, hang, leave daemons behind or kill who called them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::Bundle;
use serde_json::json;

/// A sleeper with one hook.
fn with_hook(kind: &str, script: &str) -> Bundle {
    let mut bundle = Bundle::new();
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle
        .set("/process/args", json!(["/bin/sleep", "1000"]))
        .set(&format!("/hooks/{kind}"), hook);
    bundle.write_config();
    bundle
}

fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        assert!(Instant::now() < end, "{} did not come", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn spawn(bundle: &Bundle, args: &[&str]) -> Child {
    let log = fs::File::create(bundle.dir.path().join("create.log")).unwrap();
    let mut command = bundle.command(args);
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn clean(bundle: &Bundle) {
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_no_process_left();
    bundle.assert_nothing_left();
}

#[test]
fn a_hook_that_hangs_yields_to_delete_with_force() {
    for kind in ["prestart", "createRuntime"] {
        let mut bundle = with_hook(kind, "");
        // Its name is the container's, so that it is looked for afterwards.
        let marker = bundle.dir.path().join("hook-runs");
        let script = format!("touch {}; exec sleep 1000", marker.display());
        bundle.set(&format!("/hooks/{kind}/0/args"), json!(["sh", "-c", script]));
        bundle.write_config();
        let mut creator = spawn(&bundle, &["create", &bundle.id]);
        wait_for(&marker);
        assert_eq!(bundle.state()["status"], "creating");
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        assert_eq!(creator.wait().unwrap().code(), Some(1), "{kind}");
        let words = fs::read_to_string(bundle.dir.path().join("create.log")).unwrap();
        assert!(
            words.contains(&format!(
                "error running {kind} hook #0: the container's process ended before the hook"
            )),
            "{words}"
        );
        clean(&bundle);
    }
}

#[test]
fn a_hook_in_the_container_that_hangs_yields_to_delete_with_force() {
    let mut bundle = with_hook("createContainer", "");
    let marker = bundle.dir.path().join("hook-runs");
    let script = format!("touch {}; exec sleep 1000", marker.display());
    bundle.set("/hooks/createContainer/0/args", json!(["sh", "-c", script]));
    bundle.write_config();
    let mut creator = spawn(&bundle, &["create", &bundle.id]);
    wait_for(&marker);
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(creator.wait().unwrap().code(), Some(1));
    clean(&bundle);
    // After `create` it hangs in the container's own process, and `start` waits for it.
    let bundle = with_hook("startContainer", "touch /hook-runs; exec sleep 1000");
    bundle.create().ok();
    let mut starter = spawn(&bundle, &["start", &bundle.id]);
    wait_for(&bundle.rootfs().join("hook-runs"));
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    // Whether the program had been executed by then is not to be told.
    starter.wait().unwrap();
    clean(&bundle);
}

#[test]
fn a_failing_hook_ends_it_and_leaves_nothing() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = with_hook(kind, "echo told; exit 3");
        let words = bundle.create().err();
        assert!(
            words.contains(&format!("error running {kind} hook #0: exit status 3, stdout: told")),
            "{words}"
        );
        bundle.assert_no_process_left();
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_hook_that_kills_its_caller() {
    // Who calls `createContainer` is the first process of its pid namespace, which cannot be killed from inside.
    for kind in ["prestart", "createRuntime"] {
        let bundle = with_hook(kind, "kill -9 $PPID; exec sleep 1");
        assert_ne!(bundle.create().code, 0, "{kind}");
        clean(&bundle);
    }
    let bundle = with_hook("poststart", "kill -9 $PPID");
    bundle.create().ok();
    assert_ne!(bundle.start().code, 0);
    assert_eq!(bundle.state()["status"], "running");
    clean(&bundle);
    let bundle = with_hook("poststop", "kill -9 $PPID");
    bundle.create().ok();
    assert_ne!(bundle.call(&["delete", &bundle.id]).code, 0);
    clean(&bundle);
}

#[test]
fn a_daemon_that_a_hook_leaves_behind_holds_up_nobody() {
    // Outside of the container's namespaces: it is the host's, and its own master's, to end.
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        let mut bundle = with_hook(kind, "");
        let pid = bundle.dir.path().join("daemon");
        let script = format!("setsid sleep 1000 & echo $! > {}", pid.display());
        bundle.set(&format!("/hooks/{kind}/0/args"), json!(["sh", "-c", script]));
        bundle.write_config();
        bundle.create().ok();
        bundle.start().ok();
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        let pid = fs::read_to_string(pid).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        bundle.assert_nothing_left();
    }
    // Inside it ends with the container.
    for kind in ["createContainer", "startContainer"] {
        let bundle = with_hook(kind, "sleep 1000 & exit 0");
        bundle.create().ok();
        bundle.start().ok();
        clean(&bundle);
    }
}
