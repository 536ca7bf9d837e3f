//! Hooks: when each kind runs, in whose namespaces, with which state on its standard input, and what a failure leads to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::Bundle;
use serde_json::{Value, json};

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook of the host's shell. `$0` is its first argument.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["hook", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

/// Waits for what a process that nobody waits for does.
fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match ready() {
            Some(value) => return value,
            None => assert!(Instant::now() < end, "{what}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The states that the hooks of [`tell`] have written, by kind.
fn state(directory: &Path, kind: &str) -> Value {
    let path = directory.join(kind);
    wait_for(kind, || serde_json::from_str(&fs::read_to_string(&path).ok()?).ok())
}

#[test]
fn each_kind_sees_its_namespaces_and_its_state() {
    let mut bundle = Bundle::new();
    let out = bundle.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    // What `startContainer` writes, it writes inside.
    fs::create_dir(bundle.rootfs().join("out")).unwrap();
    for kind in KINDS {
        let directory = if kind == "startContainer" {
            Path::new("/out")
        } else {
            &out
        };
        let script = format!(
            "cat > {0}/{kind}; readlink /proc/$PPID/ns/pid > {0}/{kind}.pid; readlink /proc/self/ns/uts > {0}/{kind}.uts",
            directory.display()
        );
        let mut hook = hook(&script);
        // busybox, inside, goes by this name.
        hook["args"][0] = json!("sh");
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.set("/annotations", json!({"com.example.key": "value"}));
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().ok();
    let pid = bundle.state()["pid"].clone();
    assert!(!out.join("poststart").exists() && !bundle.rootfs().join("out/startContainer").exists());
    let inside = fs::read_link(format!("/proc/{pid}/ns/uts"))
        .unwrap()
        .display()
        .to_string();
    bundle.start().ok();
    let started = state(&bundle.rootfs().join("out"), "startContainer");
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    let own = fs::read_link("/proc/self/ns/uts").unwrap().display().to_string();
    for (kind, status, number, namespace) in [
        ("prestart", "creating", pid.clone(), &own),
        ("createRuntime", "creating", pid.clone(), &own),
        ("createContainer", "creating", json!(1), &inside),
        ("poststart", "running", pid.clone(), &own),
        ("poststop", "stopped", Value::Null, &own),
    ] {
        let state = state(&out, kind);
        assert_eq!((&state["status"], &state["pid"]), (&json!(status), &number), "{kind}");
        assert_eq!(
            (&state["id"], &state["ociVersion"]),
            (&json!(bundle.id), &json!("1.0.2")),
            "{kind}"
        );
        assert_eq!(state["bundle"], json!(bundle.dir.path()), "{kind}");
        assert_eq!(state["annotations"], json!({"com.example.key": "value"}), "{kind}");
        let uts = fs::read_to_string(out.join(format!("{kind}.uts"))).unwrap();
        assert_eq!(uts.trim(), namespace, "{kind}");
    }
    assert_eq!((&started["status"], &started["pid"]), (&json!("created"), &json!(1)));
}

#[test]
fn hooks_run_in_order_with_their_own_arguments_and_environment() {
    let mut bundle = Bundle::new();
    let log = bundle.dir.path().join("log");
    let say = |word: &str| {
        hook(&format!(
            "echo $0 {word} $(env | grep -cv '^PWD\\|^SHLVL\\|^_\\|^OLDPWD') >> {}",
            log.display()
        ))
    };
    for kind in KINDS.into_iter().filter(|kind| *kind != "startContainer") {
        bundle.set(
            &format!("/hooks/{kind}"),
            json!([say(&format!("{kind}-1")), say(&format!("{kind}-2"))]),
        );
    }
    bundle.run().ok();
    let expected: String = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
        .iter()
        .flat_map(|kind| [format!("hook {kind}-1 1\n"), format!("hook {kind}-2 1\n")])
        .collect();
    assert_eq!(fs::read_to_string(&log).unwrap().replace("/bin/sh ", "hook "), expected);
}

#[test]
fn a_hook_that_fails_before_the_start_takes_everything_back() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new();
        let log = bundle.dir.path().join("log");
        bundle.set(
            &format!("/hooks/{kind}"),
            json!([
                hook("echo no >&2; exit 3"),
                hook(&format!("echo later >> {}", log.display()))
            ]),
        );
        bundle.set(
            "/hooks/poststop",
            json!([hook(&format!("echo poststop >> {}", log.display()))]),
        );
        let words = bundle.create().err();
        let expected = format!("error running {kind} hook #0: exit status 3, stdout: , stderr: no");
        assert!(words.contains(&expected), "{words}");
        assert_eq!(fs::read_to_string(&log).unwrap(), "poststop\n", "{kind}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_hook_of_the_container_that_fails_keeps_its_program_from_running() {
    let mut bundle = Bundle::new();
    bundle.set(
        "/hooks/startContainer",
        json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 9"], "env": ["PATH=/bin"]}]),
    );
    let outcome = bundle.run_script("echo ran");
    assert_ne!(outcome.code, 0);
    assert!(!outcome.stdout.contains("ran"), "{}", outcome.stdout);
    assert!(
        outcome
            .stderr
            .contains("error running startContainer hook #0: exit status 9"),
        "{}",
        outcome.stderr
    );
    bundle.assert_nothing_left();
}

#[test]
fn a_poststart_hook_that_fails_stops_the_container() {
    let mut bundle = Bundle::new();
    bundle.set("/hooks/poststart", json!([hook("exit 4")]));
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().ok();
    let words = bundle.start().err();
    assert!(
        words.contains("error running poststart hook #0: exit status 4"),
        "{words}"
    );
    wait_for("stopped", || (bundle.state()["status"] == "stopped").then_some(()));
    bundle.call(&["delete", &bundle.id]).ok();
    bundle.assert_nothing_left();
    assert!(bundle.run().err().contains("error running poststart hook"));
    bundle.assert_nothing_left();
}

#[test]
fn a_poststop_hook_that_fails_is_a_warning_and_the_next_one_runs() {
    let mut bundle = Bundle::new();
    let log = bundle.dir.path().join("log");
    bundle.set(
        "/hooks/poststop",
        json!([hook("exit 5"), hook(&format!("echo second >> {}", log.display()))]),
    );
    let outcome = bundle.run();
    assert!(
        outcome.stderr.contains("level=warning")
            && outcome.stderr.contains("error running poststop hook #0: exit status 5"),
        "{}",
        outcome.stderr
    );
    outcome.ok();
    bundle.sleeping();
    let outcome = bundle.call(&["delete", "-f", &bundle.id]);
    assert!(
        outcome.stderr.contains("error running poststop hook #0: exit status 5"),
        "{}",
        outcome.stderr
    );
    outcome.ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "second\nsecond\n");
    bundle.assert_nothing_left();
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let mut bundle = Bundle::new();
    let mut slow = hook("exec sleep 600");
    slow["timeout"] = json!(1);
    bundle.set("/hooks/createRuntime", json!([slow]));
    let words = bundle.create().err();
    assert!(
        words.contains("error running createRuntime hook #0: hook ran past specified timeout of 1.0s"),
        "{words}"
    );
    bundle.assert_nothing_left();
    for (wrong, expected) in [
        (
            json!({"path": "bin/sh"}),
            "hooks.createRuntime[0].path: must be an absolute path",
        ),
        (
            json!({"path": "/bin/sh", "timeout": 0}),
            "hooks.createRuntime[0].timeout: must be greater than zero",
        ),
        (
            json!({"path": "/nowhere"}),
            "fork/exec /nowhere: no such file or directory",
        ),
    ] {
        bundle.set("/hooks/createRuntime", json!([wrong]));
        let words = bundle.create().err();
        assert!(words.contains(expected), "{words}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn the_mounts_of_a_hook_are_the_containers() {
    let mut bundle = Bundle::new();
    let rootfs = bundle.rootfs();
    bundle.set(
        "/hooks/createContainer",
        json!([hook(&format!("mount -t tmpfs hook {}/tmp", rootfs.display()))]),
    );
    assert_eq!(bundle.run_script("grep -c '^hook /tmp' /proc/mounts").ok(), "1\n");
    bundle.assert_nothing_left();
}
