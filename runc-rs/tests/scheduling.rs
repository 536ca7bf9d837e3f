//! How a container's processes are run: scheduler, I/O class, processors, memory nodes, personality; and what `exec` takes over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bundle;
use serde_json::json;

/// Policy, nice value and real-time priority of the shell itself.
const SCHED: &str = "read -r _ < /proc/$$/stat; set -- $_; echo ${41} ${19} ${40}";

#[test]
fn the_scheduler_is_set_for_the_container_and_taken_over_by_exec() {
    let cases = [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), "0 7 0"),
        (json!({"policy": "SCHED_BATCH", "nice": -3}), "3 -3 0"),
        (json!({"policy": "SCHED_IDLE"}), "5 0 0"),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000, "flags": ["SCHED_FLAG_RECLAIM"]}),
            "6 0 0",
        ),
        // The shell is forked by nobody, so the flag shows only in its children.
        (
            json!({"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_RESET_ON_FORK"]}),
            "3 -3 0",
        ),
    ];
    let mut bundle = Bundle::new();
    for (scheduler, expected) in cases {
        bundle.set("/process/scheduler", scheduler);
        assert_eq!(bundle.run_script(SCHED).ok().trim(), expected);
    }
    bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 4}));
    bundle.sleeping();
    assert_eq!(bundle.exec(&["/bin/sh", "-c", SCHED]).ok().trim(), "3 4 0");
}

#[test]
fn a_scheduler_that_the_kernel_refuses_is_an_error_in_runcs_words() {
    let mut bundle = Bundle::new();
    // The deadline has to lie within the period.
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 30_000_000, "period": 20_000_000, "flags": ["SCHED_FLAG_DL_OVERRUN"]});
    bundle.set("/process/scheduler", scheduler);
    let words = bundle.run().err();
    assert!(words.contains("error setting scheduler: invalid argument"), "{words}");
    for (scheduler, expected) in [
        (json!({"policy": "SCHED_MOON"}), "invalid scheduler policy: SCHED_MOON"),
        (
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER",
        ),
        (
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        (
            json!({"policy": "SCHED_RR", "period": 1}),
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ),
    ] {
        bundle.set("/process/scheduler", scheduler);
        let words = bundle.run().err();
        assert!(words.contains(expected), "{words}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn the_io_class_is_set_for_the_container_and_taken_over_by_exec() {
    let mut bundle = Bundle::new();
    for (class, level, expected) in [
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        bundle.set("/process/ioPriority", json!({"class": class, "priority": level}));
        assert_eq!(bundle.run_script("ionice").ok().trim(), expected);
    }
    bundle.sleeping();
    assert_eq!(bundle.exec(&["ionice"]).ok().trim(), "idle");
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.set(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
    );
    let words = bundle.run().err();
    assert!(words.contains("invalid ioPriority.Priority: 8"), "{words}");
}

#[test]
fn the_personality_is_set_for_the_container_and_for_exec() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(bundle.run_script("uname -m").ok(), "i686\n");
    bundle.sleeping();
    assert_eq!(bundle.exec(&["uname", "-m"]).ok(), "i686\n");
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.set("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]}));
    let outcome = bundle.run_script("uname -m");
    assert!(
        outcome.stderr.contains("ignoring unsupported personality flags: [X]"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.ok(), "x86_64\n");
}

#[test]
fn the_memory_policy_is_set_for_the_container_and_for_exec() {
    let policy = "head -n 1 /proc/self/numa_maps | awk '{print $2}'";
    let mut bundle = Bundle::new();
    for (config, expected) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "interleave=relative:0",
        ),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        bundle.set("/linux/memoryPolicy", config);
        assert_eq!(bundle.run_script(policy).ok().trim(), expected);
    }
    bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
    bundle.sleeping();
    assert_eq!(bundle.exec(&["/bin/sh", "-c", policy]).ok().trim(), "bind:0");
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    for (config, expected) in [
        (json!({"mode": "MPOL_MOON"}), "invalid memory policy mode \"MPOL_MOON\""),
        (
            json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_MOON"]}),
            "invalid memory policy flag \"MPOL_F_MOON\"",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "1023"}),
            "error setting memory policy: invalid argument",
        ),
    ] {
        bundle.set("/linux/memoryPolicy", config);
        // The log's own text form puts a backslash before each quote.
        let words = bundle.run().err().replace('\\', "");
        assert!(words.contains(expected), "{words}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn exec_runs_on_the_processors_it_was_given() {
    let allowed = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let all = bundle.exec(&allowed).ok();
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    for (affinity, expected) in [
        (json!({"initial": "0"}), "Cpus_allowed_list:\t0\n"),
        (json!({"final": "1"}), "Cpus_allowed_list:\t1\n"),
        (json!({"initial": "1", "final": "0"}), "Cpus_allowed_list:\t0\n"),
    ] {
        bundle.set("/process/execCPUAffinity", affinity);
        bundle.sleeping();
        assert_eq!(bundle.exec(&allowed).ok(), expected);
        // It is for exec only.
        let pid = bundle.state()["pid"].as_i64().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains(all.trim()), "{status}");
        bundle.call(&["delete", "-f", &bundle.id]).ok();
    }
    bundle.set("/process/execCPUAffinity", json!({"final": "1023"}));
    bundle.sleeping();
    let words = bundle.exec(&["true"]).err();
    assert!(
        words.contains("error setting CPU affinity: invalid argument"),
        "{words}"
    );
}

#[test]
fn a_container_is_not_bound_to_the_processors_of_its_caller() {
    let mut bundle = Bundle::new();
    bundle.script("grep Cpus_allowed_list /proc/self/status");
    let free = bundle.run().ok();
    bundle.write_config();
    let output = std::process::Command::new("taskset")
        .args(["-c", "0"])
        .arg(common::program())
        .arg("--root")
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), free);
}

#[test]
fn exec_takes_over_what_its_process_does_not_say() {
    let mut bundle = Bundle::new();
    bundle
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]),
        )
        .set("/process/oomScoreAdj", json!(321))
        .set("/process/user/umask", json!(0o27));
    bundle.sleeping();
    let file = bundle.dir.path().join("process.json");
    let script = "ulimit -n; cat /proc/self/oom_score_adj; umask";
    let process = |extra: &str| {
        format!(
            r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","env":["PATH=/bin"],"args":["/bin/sh","-c","{script}"]{extra}}}"#
        )
    };
    for (extra, expected) in [
        ("", "77\n321\n0027\n"),
        (
            r#","oomScoreAdj":400,"rlimits":[{"type":"RLIMIT_NOFILE","soft":9,"hard":9}]"#,
            "9\n400\n0027\n",
        ),
    ] {
        std::fs::write(&file, process(extra)).unwrap();
        assert_eq!(
            bundle.call(&["exec", "-p", file.to_str().unwrap(), &bundle.id]).ok(),
            expected
        );
    }
}

/// The machine's kernel has no resctrl; with one, unit tests hold the directories to what is asked for.
#[test]
fn a_share_of_the_cache_is_refused_in_runcs_words_where_there_is_none() {
    let mut bundle = Bundle::new();
    for (config, expected) in [
        (
            json!({"l3CacheSchema": "L3:0=f"}),
            "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
        ),
        (
            json!({"memBwSchema": "MB:0=20"}),
            "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
        ),
        (
            json!({"schemata": ["L3:0=f"]}),
            "intelRdt.schemata is specified in config, but Intel RDT is not enabled",
        ),
        (json!({"closID": "a/b"}), "invalid intelRdt.ClosID"),
        (json!({"closID": ".."}), "invalid intelRdt.ClosID"),
    ] {
        bundle.set("/linux/intelRdt", config);
        let words = bundle.run().err();
        assert!(words.contains(expected), "{words}");
    }
    bundle.set("/linux/intelRdt", json!({}));
    bundle.run().ok();
    bundle.assert_nothing_left();
}
