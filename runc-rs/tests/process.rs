//! What the `process` object grants: capabilities, limits, groups, names; in `run` and in `exec`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bundle;
use serde_json::json;

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

#[test]
fn capability_sets_are_told_apart() {
    let mut bundle = Bundle::new();
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_MKNOD"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_CHOWN"],
            // Raised where it is permitted and inheritable, left out elsewhere, as in runc.
            "ambient": ["CAP_NET_BIND_SERVICE", "CAP_MKNOD"],
        }),
    );
    let check = |status: &str| {
        assert_eq!(
            field(status, "CapBnd:"),
            format!("{:016x}", 1 | 1 << 5 | 1 << 10 | 1 << 27)
        );
        assert_eq!(field(status, "CapInh:"), format!("{:016x}", 1 << 5 | 1 << 10));
        assert_eq!(field(status, "CapAmb:"), format!("{:016x}", 1 << 10));
        // An ordinary user's program keeps what is ambient.
        assert_eq!(field(status, "CapEff:"), format!("{:016x}", 1 << 10));
    };
    check(&bundle.run_script("cat /proc/self/status").ok());
    bundle.sleeping();
    check(&bundle.exec(&["cat", "/proc/self/status"]).ok());
}

#[test]
fn unknown_capabilities_are_ignored_with_a_warning() {
    let mut bundle = Bundle::new();
    let names = json!(["CAP_KILL", "CAP_MOON", "CAP_SUN"]);
    bundle.set(
        "/process/capabilities",
        json!({"bounding": names, "effective": names, "permitted": names}),
    );
    let outcome = bundle.run_script("grep CapBnd /proc/self/status");
    assert!(
        outcome.stderr.contains("level=warning")
            && outcome
                .stderr
                .contains("ignoring unknown or unavailable capabilities: [CAP_MOON CAP_SUN]"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.ok(), format!("CapBnd:\t{:016x}\n", 1 << 5));
}

#[test]
fn every_limit_is_set_by_its_name() {
    let limits = [
        ("RLIMIT_CORE", "Max core file size", 11, 12),
        ("RLIMIT_CPU", "Max cpu time", 1000, 2000),
        ("RLIMIT_DATA", "Max data size", 1_000_000_000, 1_000_000_001),
        ("RLIMIT_FSIZE", "Max file size", 1_000_000, 2_000_000),
        ("RLIMIT_LOCKS", "Max file locks", 13, 14),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 15, 16),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_NOFILE", "Max open files", 64, 65),
        ("RLIMIT_NPROC", "Max processes", 1000, 1001),
        ("RLIMIT_RSS", "Max resident set", 17, 18),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1_000_000, 2_000_000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 19, 20),
        ("RLIMIT_STACK", "Max stack size", 1_000_000, 2_000_000),
        ("RLIMIT_AS", "Max address space", 2_000_000_000, 2_000_000_001),
    ];
    let mut bundle = Bundle::new();
    let json: Vec<_> = limits
        .iter()
        .map(|(name, _, soft, hard)| json!({"type": name, "soft": soft, "hard": hard}))
        .collect();
    bundle.set("/process/rlimits", json!(json));
    let table = bundle.run_script("cat /proc/self/limits").ok();
    for (name, words, soft, hard) in limits {
        let line = table.lines().find_map(|line| line.strip_prefix(words)).unwrap();
        let mut numbers = line.split_whitespace();
        let pair = (numbers.next().unwrap().to_owned(), numbers.next().unwrap().to_owned());
        assert_eq!(pair, (soft.to_string(), hard.to_string()), "{name}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_field() {
    for (place, value, expected) in [
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_MOON", "soft": 1, "hard": 1}]),
            "wrong rlimit value: RLIMIT_MOON",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "process.rlimits[0].soft",
        ),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("/process/user/umask", json!(0o1000), "process.user.umask"),
        ("/process/cwd", json!("tmp"), "Cwd must be an absolute path"),
        ("/process/args", json!([]), "args must not be empty"),
        ("/process/env", json!(["A=\u{0}"]), "process.env[0]"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "moon"}]),
            "invalid device type",
        ),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true, "type": "moon"}]}),
            "invalid cgroup device type",
        ),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/process/user/uid", json!(u32::MAX), "process.user.uid"),
    ] {
        let mut bundle = Bundle::new();
        bundle.set(place, value);
        let words = bundle.run().err();
        assert!(words.contains(expected), "{place}: {words}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn what_runc_still_takes_is_taken_with_its_warnings() {
    let mut bundle = Bundle::new();
    bundle.push(
        "/mounts",
        json!({"destination": "relative/place", "type": "tmpfs", "source": "tmpfs"}),
    );
    bundle.set("/linux/resources", json!({"memory": {"kernel": 1_000_000}}));
    let outcome = bundle.run_script("grep -c ' /relative/place ' /proc/mounts");
    for words in [
        "mount destination relative/place is not absolute.",
        "Kernel memory settings are ignored and will be removed",
    ] {
        assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
    }
    assert_eq!(outcome.ok(), "1\n");
}

#[test]
fn parameters_of_the_hosts_network_are_refused_by_whatever_way_it_is_named() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let words = "not allowed in host network namespace";
    bundle.set(
        "/linux/namespaces/1",
        json!({"type": "network", "path": "/proc/self/ns/net"}),
    );
    let joined = bundle.run().err();
    assert!(joined.contains(words), "{joined}");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().remove(1);
    let absent = bundle.run().err();
    assert!(absent.contains(words), "{absent}");
    bundle.assert_nothing_left();
}

#[test]
fn annotations_are_in_the_state() {
    let mut bundle = Bundle::new();
    bundle.set("/annotations", json!({"com.example.a": "1", "b": ""}));
    bundle.sleeping();
    assert_eq!(bundle.state()["annotations"], json!({"com.example.a": "1", "b": ""}));
}

#[test]
fn devices_of_every_kind() {
    let mut bundle = Bundle::new();
    bundle.set(
        "/linux/devices",
        json!([
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 3, "gid": 4},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 99},
            {"path": "/dev/deep/er", "type": "u", "major": 1, "minor": 3, "fileMode": 0o100_600},
        ]),
    );
    let out = bundle
        .run_script("stat -c '%F %t:%T %a %u:%g' /dev/pipe /dev/block /dev/deep/er")
        .ok();
    assert_eq!(
        out,
        "fifo 0:0 640 3:4\nblock special file 7:63 666 0:0\ncharacter special file 1:3 600 0:0\n"
    );
}
