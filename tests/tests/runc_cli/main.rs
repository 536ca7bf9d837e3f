//! The command line of runc-rs beside that of Debian's runc: the same commands in the same states of a container, and the same exit codes,
//! messages, help and shapes of what is printed. What differs is listed with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lines;
mod shape;
mod side;

use serde_json::json;
use side::{Different, Pair};

const fn different(line: &'static str, code: i32, said: &'static str, why: &'static str) -> Different {
    Different { line, code, said, why }
}

const WORDS: &str = "says on what, in its parser's or kernel's words";
const NEWER: &str = "as runc says since 1.2";

#[test]
fn without_a_container() {
    let pair = Pair::new();
    for side in [&pair.runc, &pair.ours] {
        std::fs::create_dir(side.dir.join("root")).unwrap();
    }
    let differences = [different(
        "run -b bundle --pid-file /nonexistent/x x",
        1,
        "write /nonexistent/x: no such file",
        WORDS,
    )];
    pair.compare(lines::WITHOUT, &differences);
    pair.finish();
}

#[test]
fn help_of_every_command() {
    let commands = [
        "create", "delete", "events", "exec", "kill", "list", "pause", "ps", "resume", "run", "spec", "start", "state",
        "update", "features",
    ];
    let pair = Pair::new();
    for command in commands {
        let lines = [
            format!("{command} --help"),
            format!("help {command}"),
            format!("{command} -h x y"),
        ];
        pair.compare(&lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    }
    pair.finish();
}

#[test]
fn of_a_running_container() {
    let pair = Pair::new();
    pair.compare(lines::RUNNING, &[]);
    pair.finish();
}

#[test]
fn of_an_exec() {
    let differences = [
        different(
            "exec -e FOO=bar --env BAR=foo c env",
            0,
            "FOO=bar\nBAR=foo\n",
            "the two forms of a flag are one flag",
        ),
        different(
            "exec --pidfd-socket /nope c true",
            255,
            "dial unix /nope: connect: no such file or directory",
            NEWER,
        ),
        different(
            "exec --pid-file /nope/x c true",
            255,
            "/nope/x: no such file or directory",
            WORDS,
        ),
        different(
            "exec --cgroup :x c ls",
            255,
            "invalid --cgroup argument: :x (empty <controller> prefix)",
            NEWER,
        ),
        different(
            "exec --cgroup cpu:x --cgroup cpu:y c ls",
            255,
            "controller cpu specified multiple times",
            NEWER,
        ),
        different(
            "exec --preserve-fds 20 c ls",
            255,
            "unable to stat preserved-fd N (of N): no such file or directory",
            NEWER,
        ),
        different(
            "exec --apparmor bogus c true",
            255,
            "apparmor failed to apply profile",
            WORDS,
        ),
    ];
    let pair = Pair::new();
    pair.compare(lines::EXEC, &differences);
    pair.finish();
}

#[test]
fn of_an_update() {
    let only = "nothing is set back: what stands in the kernel is the truth";
    let differences = [
        different(
            "update --kernel-memory 5 c",
            0,
            "Setting --kernel-memory is ignored and will be removed",
            NEWER,
        ),
        different(
            "update --memory 4k c",
            1,
            "unable to set memory limit to N (current usage: N, peak usage: N)",
            only,
        ),
        different(
            "update --cpuset-cpus 99 c",
            1,
            "cpuset.cpus: numerical result out of range",
            only,
        ),
        different("update --cpu-quota 1 c", 1, "cpu.cfs_quota_us: invalid argument", only),
    ];
    let pair = Pair::new();
    pair.compare(lines::UPDATE, &differences);
    let limits = |side: &side::Side| {
        let name = |file: &str| format!("/sys/fs/cgroup/{file}").replace("ID", &cgroup(side));
        let files = [
            "memory/ID/memory.limit_in_bytes",
            "memory/ID/memory.soft_limit_in_bytes",
            "pids/ID/pids.max",
        ];
        let cpu = [
            "cpu/ID/cpu.shares",
            "cpu/ID/cpu.cfs_period_us",
            "cpu/ID/cpu.cfs_quota_us",
            "cpuset/ID/cpuset.cpus",
        ];
        let all = files.iter().chain(&cpu);
        all.map(|file| std::fs::read_to_string(name(file)).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(limits(&pair.runc), limits(&pair.ours));
    pair.finish();
}

fn cgroup(side: &side::Side) -> String {
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(side.dir.join("bundle/config.json")).unwrap()).unwrap();
    config["linux"]["cgroupsPath"]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .to_owned()
}

#[test]
fn of_a_created_and_of_a_stopped_container() {
    let created = [
        "create -b bundle c",
        "state c",
        "ps -f json c",
        "exec c /bin/echo x",
        "resume c",
        "pause c",
        "state c",
        "resume c",
        "list",
        "events --stats c",
        "delete c",
        "delete c",
        "create -b bundle c",
    ];
    let stopped = [
        "state c",
        "list",
        "list -f json",
        "exec c ls",
        "kill c",
        "kill --all c",
        "start c",
        "pause c",
        "resume c",
        "ps c",
        "ps -f json c",
        "events --stats c",
        "events c",
        "update --pids-limit 7 c",
        "run -b bundle c",
        "delete c",
        "delete c",
    ];
    let pair = Pair::new();
    pair.compare(&created, &[]);
    pair.kill();
    pair.compare(&stopped, &[]);
    pair.finish();
}

#[test]
fn of_configurations_that_fail() {
    let pair = Pair::new();
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, Option<Different>); 12] = [
        (
            |c| {
                c["process"]["capabilities"]["bounding"] = json!(["CAP_BOGUS", "CAP_KILL"]);
                c["process"]["args"] = json!(["/bin/true"]);
            },
            None,
        ),
        (|c| c["process"]["args"] = json!(["nope"]), None),
        (|c| c["process"]["args"] = json!(["/nope"]), None),
        (|c| c["process"]["args"] = json!(["/etc"]), None),
        (|c| c["process"]["args"] = json!([]), None),
        (|c| c["process"]["args"] = json!(["/bin/sh", "-c", "exit 7"]), None),
        (|c| c["process"]["cwd"] = json!("rel"), None),
        (|c| c["root"]["path"] = json!("nowhere"), None),
        (|c| c["process"] = json!(null), None),
        (|c| c["root"] = json!(null), None),
        (
            |c| c["hostname"] = json!("x".repeat(100)),
            Some(different(
                "",
                1,
                "hostname: is longer than N bytes",
                "found before anything is made",
            )),
        ),
        (
            |c| c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}),
            Some(different(
                "",
                1,
                "error running createRuntime hook #N: exit status N",
                NEWER,
            )),
        ),
    ];
    for (change, known) in cases {
        for side in [&pair.runc, &pair.ours] {
            let path = side.dir.join("bundle/config.json");
            std::fs::copy(&path, side.dir.join("sound.json")).unwrap();
            side.configure(change);
        }
        let lines: Vec<&'static str> = vec![
            "create -b bundle c",
            "delete -f c",
            "run -b bundle c",
            "run -d -b bundle c",
            "delete -f c",
        ];
        let differences: Vec<Different> = match known {
            None => Vec::new(),
            Some(known) => lines
                .iter()
                .filter(|line| !line.starts_with("delete"))
                .map(|line| Different {
                    line,
                    ..different("", known.code, known.said, known.why)
                })
                .collect(),
        };
        pair.compare(&lines, &differences);
        for side in [&pair.runc, &pair.ours] {
            std::fs::rename(side.dir.join("sound.json"), side.dir.join("bundle/config.json")).unwrap();
        }
    }
    // In the foreground ours needs no terminal of its own, and would wait for the program.
    for side in [&pair.runc, &pair.ours] {
        side.configure(|config| config["process"]["terminal"] = json!(true));
    }
    pair.compare(
        &[
            "create -b bundle c",
            "run -d -b bundle c",
            "run -b bundle --console-socket /nope c",
        ],
        &[],
    );
    pair.finish();
}

/// What a client of runc finds in its features it finds in ours.
#[test]
fn features_are_all_there() {
    let pair = Pair::new();
    let read =
        |side: &side::Side| -> serde_json::Value { serde_json::from_str(&side.call(&["features"]).ok()).unwrap() };
    let (runc, ours) = (read(&pair.runc), read(&pair.ours));
    // No options since runc 1.2, and architectures without a table.
    let gone = |name: &str| ["acl", "noacl"].contains(&name) || name.starts_with("SCMP_ARCH_MIPS");
    let foreign = |name: &str| name.starts_with("SCMP_ARCH_PPC") || name.starts_with("SCMP_ARCH_S390");
    for list in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
        "/linux/seccomp/archs",
    ] {
        let of = |features: &serde_json::Value| features.pointer(list).unwrap().as_array().unwrap().clone();
        let own = of(&ours);
        for name in of(&runc) {
            let text = name.as_str().unwrap();
            assert!(own.contains(&name) || gone(text) || foreign(text), "{list}: {text}");
        }
    }
    for (key, value) in [
        (
            "/linux/cgroup",
            json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true}),
        ),
        ("/linux/apparmor", json!({"enabled": true})),
        ("/linux/selinux", json!({"enabled": true})),
        (
            "/linux/intelRdt",
            json!({"enabled": true, "schemata": true, "monitoring": true}),
        ),
        ("/linux/mountExtensions", json!({"idmap": {"enabled": true}})),
        ("/linux/netDevices", json!({"enabled": true})),
        ("/linux/seccomp/enabled", json!(true)),
        ("/ociVersionMin", json!("1.0.0")),
        ("/ociVersionMax", json!("1.3.0")),
        (
            "/potentiallyUnsafeConfigAnnotations",
            json!(["org.systemd.property.", "org.criu.config"]),
        ),
    ] {
        assert_eq!(ours.pointer(key), Some(&value), "{key}");
    }
    for list in [
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
        "/linux/seccomp/knownFlags",
        "/linux/seccomp/supportedFlags",
    ] {
        assert!(!ours.pointer(list).unwrap().as_array().unwrap().is_empty(), "{list}");
    }
    pair.finish();
}
