//! Whoever dies at whatever system call: the next command has a usable answer, `delete --force` converges, nothing stays behind.
//!
//! A sample of the calls; `RUNC_RS_SWEEP=all` takes every one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Command;

use common::killer::{self, Attempt, Victim, points};
use common::{Bundle, Outcome};
use serde_json::json;

/// A command to be cut off, with what has to be there before it.
struct Case {
    name: &'static str,
    before: fn(&Bundle),
    args: &'static [&'static str],
    victim: Victim,
}

fn nothing(_: &Bundle) {}

fn created(bundle: &Bundle) {
    bundle.create().ok();
}

fn running(bundle: &Bundle) {
    bundle.create().ok();
    bundle.start().ok();
}

/// The command, with the container's id for `ID`.
fn command(bundle: &Bundle, args: &[&str]) -> Command {
    let args: Vec<&str> = args
        .iter()
        .map(|arg| if *arg == "ID" { bundle.id.as_str() } else { arg })
        .collect();
    bundle.command(&args)
}

/// Every answer is a state or a refusal in known words.
fn assert_usable(case: &Case, at: usize, outcome: &Outcome) {
    assert!(
        outcome.code == 0 || outcome.stderr.contains("container does not exist"),
        "{} killed at {at}: state says {}",
        case.name,
        outcome.stderr
    );
}

fn cut(bundle: &Bundle, case: &Case, at: usize) -> Attempt {
    (case.before)(bundle);
    let attempt = killer::run(command(bundle, case.args), case.victim, at);
    let Attempt { outcome, killed, .. } = &attempt;
    let what = format!("{} with {:?} killed at call {at}", case.name, case.victim);
    match (case.victim, killed) {
        (Victim::Command, true) => assert_eq!(outcome.code, 137, "{what}"),
        (_, false) => assert_eq!(outcome.code, 0, "{what}: {}", outcome.stderr),
        // It may be over when the child dies: then it is the next one who tells.
        (Victim::Child, true) => assert!(
            outcome.code == 0 || outcome.code == 137 || !outcome.stderr.is_empty(),
            "{what}: {} without a word",
            outcome.code
        ),
    }
    assert_usable(case, at, &bundle.call(&["state", &bundle.id]));
    let deleted = bundle.call(&["delete", "--force", &bundle.id]);
    assert_eq!(deleted.code, 0, "{what}: delete --force: {}", deleted.stderr);
    bundle.assert_no_process_left();
    bundle.assert_nothing_left();
    attempt
}

fn sweep(bundle: &Bundle, case: &Case) {
    bundle.write_config();
    let calls = cut(bundle, case, usize::MAX).calls;
    assert!(calls > 5, "{}: {calls} calls seen", case.name);
    for at in points(calls) {
        cut(bundle, case, at);
    }
    // The id is free, and everything works as before.
    running(bundle);
    bundle.exec(&["true"]).ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

fn sleeper() -> Bundle {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle
}

#[test]
fn create_is_killed() {
    let args = &["create", "ID"];
    for victim in [Victim::Command, Victim::Child] {
        sweep(
            &sleeper(),
            &Case {
                name: "create",
                before: nothing,
                args,
                victim,
            },
        );
    }
}

#[test]
fn create_with_hooks_and_a_user_namespace_is_killed() {
    let mut bundle = sleeper();
    let hook = json!([{"path": "/bin/true"}]);
    bundle
        .set(
            "/hooks",
            json!({"prestart": hook, "createRuntime": hook, "createContainer": hook, "poststop": hook}),
        )
        .set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 65536}]),
        )
        .set(
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 65536}]),
        )
        .push("/linux/namespaces", json!({"type": "user"}));
    for victim in [Victim::Command, Victim::Child] {
        let args = &["create", "ID"];
        sweep(
            &bundle,
            &Case {
                name: "create with hooks",
                before: nothing,
                args,
                victim,
            },
        );
    }
}

#[test]
fn start_is_killed() {
    let args = &["start", "ID"];
    sweep(
        &sleeper(),
        &Case {
            name: "start",
            before: created,
            args,
            victim: Victim::Command,
        },
    );
}

#[test]
fn a_start_that_was_killed_can_be_done_again() {
    let bundle = sleeper();
    bundle.write_config();
    created(&bundle);
    let calls = killer::run(command(&bundle, &["start", "ID"]), Victim::Command, usize::MAX).calls;
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    for at in points(calls) {
        created(&bundle);
        killer::run(command(&bundle, &["start", "ID"]), Victim::Command, at);
        let again = bundle.start();
        assert!(
            again.code == 0 || again.stderr.contains("cannot start an already running container"),
            "killed at {at}: {}",
            again.stderr
        );
        assert_eq!(bundle.state()["status"], "running", "killed at {at}");
        bundle.call(&["delete", "--force", &bundle.id]).ok();
    }
    bundle.assert_nothing_left();
}

#[test]
fn exec_is_killed() {
    let args = &["exec", "ID", "/bin/true"];
    for victim in [Victim::Command, Victim::Child] {
        sweep(
            &sleeper(),
            &Case {
                name: "exec",
                before: running,
                args,
                victim,
            },
        );
    }
}

#[test]
fn delete_is_killed() {
    let args = &["delete", "--force", "ID"];
    let victim = Victim::Command;
    sweep(
        &sleeper(),
        &Case {
            name: "delete of a running container",
            before: running,
            args,
            victim,
        },
    );
    sweep(
        &sleeper(),
        &Case {
            name: "delete of a created container",
            before: created,
            args,
            victim,
        },
    );
}

#[test]
fn run_is_killed() {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/true"]));
    bundle.write_config();
    for victim in [Victim::Command, Victim::Child] {
        let case = Case {
            name: "run",
            before: nothing,
            args: &["run", "ID"],
            victim,
        };
        let calls = cut(&bundle, &case, usize::MAX).calls;
        for at in points(calls) {
            cut(&bundle, &case, at);
        }
    }
    bundle.run().ok();
    bundle.assert_nothing_left();
}
