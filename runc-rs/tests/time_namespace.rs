//! Time namespaces: new ones with their offsets, joined ones, and the first process being in them from its first instruction.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bundle;
use serde_json::json;

/// The shell's own process: its number, its namespace, and the seconds since boot.
const SHOW: &str = "read -r up _ < /proc/uptime; echo $$ $(readlink /proc/$$/ns/time) ${up%.*}";

/// Process number, namespace, uptime.
fn parse(line: &str) -> (u32, String, i64) {
    let mut words = line.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
    (next().parse().unwrap(), next().to_owned(), next().parse().unwrap())
}

fn host() -> (String, i64) {
    let link = std::fs::read_link("/proc/self/ns/time").unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    (
        link.display().to_string(),
        uptime.split('.').next().unwrap().parse().unwrap(),
    )
}

#[test]
fn a_new_namespace_has_its_offsets_in_run_and_exec() {
    let (own, uptime) = host();
    for user_namespace in [false, true] {
        for pid_namespace in [true, false] {
            let mut bundle = Bundle::new();
            bundle.push("/linux/namespaces", json!({"type": "time"}));
            if user_namespace {
                bundle.push("/linux/namespaces", json!({"type": "user"}));
                let maps = json!([{"containerID": 0, "hostID": 0, "size": 70000}]);
                bundle
                    .set("/linux/uidMappings", maps.clone())
                    .set("/linux/gidMappings", maps);
            }
            if !pid_namespace {
                bundle.set("/linux/namespaces/0", json!({"type": "cgroup"}));
                // Another pid namespace's procfs may not be mounted in a user namespace of one's own.
                bundle.set(
                    "/mounts/0",
                    json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}),
                );
            }
            bundle.set(
                "/linux/timeOffsets",
                json!({"boottime": {"secs": 500_000_000, "nanosecs": 7}, "monotonic": {"secs": -1}}),
            );
            let case = format!("user {user_namespace}, pid {pid_namespace}");
            let (pid, link, seconds) = parse(&bundle.run_script(SHOW).ok());
            assert!(!pid_namespace || pid == 1, "{case}: {pid}");
            assert_ne!(link, own, "{case}");
            assert!(
                (uptime + 500_000_000..uptime + 500_001_000).contains(&seconds),
                "{case}: {seconds}"
            );
            bundle.sleeping();
            let (_, link, seconds) = parse(&bundle.exec(&["/bin/sh", "-c", SHOW]).ok());
            let init = std::fs::read_link(format!("/proc/{}/ns/time", bundle.state()["pid"])).unwrap();
            assert_eq!(link, init.display().to_string(), "{case}");
            assert!(seconds > 500_000_000, "{case}: {seconds}");
            bundle.call(&["delete", "-f", &bundle.id]).ok();
            bundle.assert_nothing_left();
        }
    }
}

#[test]
fn a_namespace_is_joined_by_path() {
    let mut holder = Bundle::new();
    holder.push("/linux/namespaces", json!({"type": "time"}));
    holder.set("/linux/timeOffsets", json!({"boottime": {"secs": 600_000_000}}));
    holder.sleeping();
    let pid = holder.state()["pid"].as_i64().unwrap();
    let mut bundle = Bundle::new();
    bundle.push(
        "/linux/namespaces",
        json!({"type": "time", "path": format!("/proc/{pid}/ns/time")}),
    );
    let (number, link, seconds) = parse(&bundle.run_script(SHOW).ok());
    let expected = std::fs::read_link(format!("/proc/{pid}/ns/time"))
        .unwrap()
        .display()
        .to_string();
    assert_eq!((number, link), (1, expected));
    assert!(seconds > 600_000_000, "{seconds}");
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    let words = bundle.run().err();
    assert!(words.contains("the time namespace is joined, not made"), "{words}");
}

#[test]
fn a_pid_namespace_is_joined_by_the_process_of_a_new_time_namespace() {
    let mut holder = Bundle::new();
    holder.sleeping();
    let pid = holder.state()["pid"].as_i64().unwrap();
    let mut bundle = Bundle::new();
    bundle.set(
        "/linux/namespaces/0",
        json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")}),
    );
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 700_000_000}}));
    let out = bundle
        .run_script(&format!("grep -c sleep /proc/1/cmdline; {SHOW}"))
        .ok();
    let (first, rest) = out.split_once('\n').unwrap();
    assert_eq!(first, "1");
    assert!(parse(rest).2 > 700_000_000, "{rest}");
    bundle.assert_nothing_left();
}

#[test]
fn offsets_that_cannot_be_are_refused() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    let words = bundle.run().err();
    assert!(
        words.contains("time namespace offsets specified, but time namespace isn't enabled in the config"),
        "{words}"
    );
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    for (offsets, expected) in [
        (json!({"realtime": {"secs": 1}}), "is not a clock"),
        (
            json!({"boottime": {"nanosecs": 1_000_000_000}}),
            "must be below 1000000000",
        ),
        // Before the machine's own start.
        (
            json!({"monotonic": {"secs": -4_000_000_000_i64}}),
            "numerical result out of range",
        ),
    ] {
        bundle.set("/linux/timeOffsets", offsets);
        let words = bundle.run().err();
        assert!(words.contains(expected), "{words}");
    }
    bundle.assert_nothing_left();
}
