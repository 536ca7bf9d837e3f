//! The daemon is killed with SIGKILL while containers run: they go on, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use engine_tests::daemon::{Daemon, Manager, fetch, wait_until};
use engine_tests::image_tars::{PAGE, busybox_tar, nginx_tar};

fn pid(d: &Daemon, name: &str) -> String {
    d.ok(["inspect", "-f", "{{.State.Pid}}", name])
}

fn load(d: &Daemon) {
    let busybox = busybox_tar(d.directory());
    let web = nginx_tar(d.directory());
    for tar in [busybox, web] {
        d.ok(["load", "-q", "-i", tar.to_str().unwrap()]);
    }
}

fn nothing_is_lost_when_the_daemon_is_killed(manager: Manager, both: bool) {
    let mut d = Daemon::start_with(manager, &[]);
    load(&d);
    d.ok(["run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", "web"]);
    let count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
    d.ok(["run", "-d", "--name", "lines", "busybox", "sh", "-c", count]);
    wait_until("the page", || fetch(&d, "127.0.0.1:8080") == PAGE);
    let pids = (pid(&d, "web"), pid(&d, "lines"));
    let signals = d.directory().join("signals");
    std::fs::create_dir(&signals).unwrap();
    for round in 0..5 {
        let name = format!("ends{round}");
        let bind = format!("{}:/signals", signals.display());
        let script = format!(
            "while [ ! -e /signals/{round} ]; do sleep 0.02; done; exit {}",
            40 + round
        );
        d.ok([
            "run", "-d", "--name", &name, "-v", &bind, "busybox", "sh", "-c", &script,
        ]);
        let ending = pid(&d, &name);
        d.kill9(both);
        std::fs::write(signals.join(round.to_string()), "").unwrap();
        wait_until("the end", || !Path::new(&format!("/proc/{ending}")).exists());
        assert_eq!(fetch(&d, "127.0.0.1:8080"), PAGE, "while the daemon is down");
        d.start_again();
        wait_until("the exit code", || {
            d.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", &name]) == format!("exited {}", 40 + round)
        });
        assert_eq!((pid(&d, "web"), pid(&d, "lines")), pids);
        assert_eq!(fetch(&d, "127.0.0.1:8080"), PAGE);
    }
    assert_eq!(d.ok(["port", "web"]), "80/tcp -> 127.0.0.1:8080");
    assert_eq!(d.ok(["exec", "lines", "echo", "alive"]), "alive");
    d.ok(["kill", "lines"]);
    let log = d.ok(["logs", "lines"]);
    for (expected, line) in log.lines().enumerate() {
        assert_eq!(line, expected.to_string(), "a line is missing or doubled");
    }
    assert!(log.lines().count() > 100);
    d.ok(["stop", "web"]);
    d.finish();
}

#[test]
fn the_manager_in_the_daemons_process() {
    nothing_is_lost_when_the_daemon_is_killed(Manager::Embedded, false);
}

#[test]
fn the_manager_apart_and_alive() {
    nothing_is_lost_when_the_daemon_is_killed(Manager::Ours, false);
}

#[test]
fn the_manager_apart_and_killed_too() {
    nothing_is_lost_when_the_daemon_is_killed(Manager::Ours, true);
}

/// Creates, starts and removals are cut off at every moment; the next daemon finds a state it can go on from.
#[test]
fn killed_in_the_middle_of_operations() {
    let mut d = Daemon::start();
    load(&d);
    for round in 0..10u64 {
        let children: Vec<_> = (0..3)
            .map(|_| d.docker(["run", "--rm", "busybox", "true"]).spawn().unwrap())
            .collect();
        std::thread::sleep(Duration::from_millis(20 * round));
        d.kill9(false);
        for mut child in children {
            child.wait().unwrap();
        }
        d.start_again();
        // What was created but not started is kept; everything can be removed.
        wait_until("a settled state", || {
            let ids = d.ok(["ps", "-aq"]);
            ids.is_empty()
                || d.output(["rm", "-f", "-v"].into_iter().chain(ids.lines()))
                    .status
                    .success()
        });
        assert_eq!(d.ok(["run", "--rm", "busybox", "echo", "goes on"]), "goes on");
    }
    d.finish();
}

/// A restart policy and `--rm` are carried out for what ended while nobody looked.
#[test]
fn policies_are_carried_out_by_the_next_daemon() {
    let mut d = Daemon::start();
    load(&d);
    d.ok([
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "busybox",
        "sleep",
        "1000",
    ]);
    d.ok(["run", "-d", "--rm", "--name", "passing", "busybox", "sleep", "1000"]);
    let pids = [pid(&d, "always"), pid(&d, "passing")];
    d.kill9(false);
    for pid in &pids {
        let raw = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        nix::sys::signal::kill(raw, nix::sys::signal::Signal::SIGKILL).unwrap();
        wait_until("the end", || !Path::new(&format!("/proc/{pid}")).exists());
    }
    d.start_again();
    let state = || d.ok(["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "always"]);
    wait_until("the restart", || {
        state()
            .strip_prefix("running ")
            .is_some_and(|pid| pid != "0" && pid != pids[0])
    });
    wait_until("the removal", || {
        d.ok(["ps", "-a", "--format", "{{.Names}}"]) == "always"
    });
    d.finish();
}
