//! config.md: the process.

use serde_json::json;

use super::field;
use crate::conformance::trial::{Done, Trial, elsewhere};

/// Working directory and environment, and nothing more of the latter.
pub fn environment(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/cwd", json!("/tmp"));
    t.same("config.process.cwd", bundle.tell("busybox pwd -P")?.trim(), "/tmp");
    let mut bundle = t.bundle();
    bundle.set("/process/env", json!(["PATH=/bin", "A=1", "EMPTY=", "WITH=a=b c"]));
    bundle.set("/process/args", json!(["/bin/busybox", "cat", "/proc/self/environ"]));
    let said = bundle.run().ok()?;
    // HOME is the one variable that runtimes add where it is missing.
    let mut variables: Vec<&str> = said
        .split_terminator('\0')
        .filter(|v| !v.starts_with("HOME="))
        .collect();
    variables.sort_unstable();
    t.same(
        "config.process.env",
        variables,
        vec!["A=1", "EMPTY=", "PATH=/bin", "WITH=a=b c"],
    );
    Ok(())
}

/// The first argument is looked for in the container's PATH; all of them arrive.
pub fn arguments(t: &mut Trial) -> Done {
    let id = "config.process.args";
    let mut bundle = t.bundle();
    bundle.set("/process/env", json!(["PATH=/nowhere:/bin"]));
    bundle.set(
        "/process/args",
        json!(["busybox", "echo", "-n", "one two", "", "three"]),
    );
    t.same(id, bundle.run().ok()?, "one two  three");
    let mut relative = t.bundle();
    relative.set("/process/cwd", json!("/bin"));
    relative.set("/process/args", json!(["./busybox", "echo", "here"]));
    t.same(id, relative.run().ok()?, "here\n");
    let mut missing = t.bundle();
    missing.set("/process/args", json!(["no-such-program"]));
    t.refused(id, &missing.run());
    Ok(())
}

/// Values of process fields that no runtime may accept.
pub fn invalid(t: &mut Trial) -> Done {
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64});
    let cases = [
        ("config.process.cwd-absolute", "/process/cwd", json!("tmp")),
        ("config.process.args-one", "/process/args", json!([])),
        (
            "config.rlimits.unknown",
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]),
        ),
        ("config.rlimits.twice", "/process/rlimits", json!([limit, limit])),
        (
            "config.process.scheduler-invalid",
            "/process/scheduler",
            json!({"policy": "SCHED_NOSUCH"}),
        ),
    ];
    for (id, pointer, value) in cases {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set(pointer, value);
        t.refused(id, &bundle.run());
    }
    Ok(())
}

/// Limits of each kind that an ordinary caller can set: lower than, or the same as, what the caller has.
pub fn rlimits(t: &mut Trial) -> Done {
    let limits = [
        ("RLIMIT_NOFILE", "Max open files", 64_u64, 128_u64),
        ("RLIMIT_NPROC", "Max processes", 500, 600),
        ("RLIMIT_CORE", "Max core file size", 0, 4096),
        ("RLIMIT_FSIZE", "Max file size", 1_048_576, 2_097_152),
        ("RLIMIT_STACK", "Max stack size", 1_048_576, 4_194_304),
        ("RLIMIT_AS", "Max address space", 1 << 30, 1 << 31),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 4096, 8192),
        ("RLIMIT_CPU", "Max cpu time", 100, 200),
        ("RLIMIT_DATA", "Max data size", 1 << 28, 1 << 29),
        ("RLIMIT_LOCKS", "Max file locks", 10, 20),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 100, 200),
    ];
    let mut bundle = t.bundle();
    for (kind, _, soft, hard) in limits {
        bundle.push("/process/rlimits", json!({"type": kind, "soft": soft, "hard": hard}));
    }
    let said = bundle.tell("cat /proc/self/limits")?;
    for (kind, line, soft, hard) in limits {
        let seen: Vec<u64> = field(&said, line)
            .split_whitespace()
            .take(2)
            .filter_map(|w| w.parse().ok())
            .collect();
        t.must(
            "config.rlimits.getrlimit",
            seen.len() == 2,
            format_args!("{kind}: {said}"),
        );
        t.must(
            "config.rlimits.soft",
            seen.first() == Some(&soft),
            format_args!("{kind}: {seen:?}"),
        );
        t.must(
            "config.rlimits.hard",
            seen.get(1) == Some(&hard),
            format_args!("{kind}: {seen:?}"),
        );
    }
    Ok(())
}

/// The sets as the kernel shows them: `CAP_CHOWN` 0, `CAP_KILL` 5, `CAP_SETGID` 6, `CAP_SETUID` 7, `CAP_NET_BIND_SERVICE` 10.
pub fn capabilities(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        }),
    );
    // Not as root, whose sets the kernel fills at execve; an ordinary user's container has no other user.
    let rootless = t.subject.place.rootless;
    if !rootless {
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    }
    let said = bundle.tell("cat /proc/self/status")?;
    let seen = |name| u64::from_str_radix(field(&said, name), 16).unwrap_or(u64::MAX);
    let id = "config.capabilities.sets";
    t.same(id, seen("CapBnd"), 1 | 1 << 5 | 1 << 6 | 1 << 10);
    t.same(id, seen("CapInh"), 1 << 10);
    if rootless {
        return Ok(());
    }
    t.same(id, seen("CapAmb"), 1 << 10);
    t.same(id, seen("CapPrm"), 1 << 10);
    t.same(id, seen("CapEff"), 1 << 10);
    // A root's effective set is what the bounding set leaves it.
    let mut root = t.bundle();
    root.set(
        "/process/capabilities",
        json!({"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]}),
    );
    let said = root.tell("cat /proc/self/status")?;
    let sets: Vec<&str> = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|name| field(&said, name))
        .into();
    t.same(
        id,
        sets,
        vec![
            "0000000000000000",
            "0000000000000001",
            "0000000000000001",
            "0000000000000001",
            "0000000000000000",
        ],
    );
    Ok(())
}

/// A capability that does not exist: a line in the log, and the container runs.
pub fn unknown_capability(t: &mut Trial) -> Done {
    let id = "config.capabilities.unknown";
    let mut bundle = t.bundle();
    bundle.push("/process/capabilities/bounding", json!("CAP_NO_SUCH_THING"));
    bundle.script("echo here");
    let said = bundle.run();
    t.same(id, said.out.trim(), "here");
    t.must(
        id,
        said.err.contains("CAP_NO_SUCH_THING"),
        format_args!("no warning: {:?}", said.err),
    );
    Ok(())
}

/// `NoNewPrivs` as the kernel shows it, with and without.
pub fn privileges(t: &mut Trial) -> Done {
    for (value, shown) in [(true, "1"), (false, "0")] {
        let mut bundle = t.bundle();
        bundle.set("/process/noNewPrivileges", json!(value));
        let said = bundle.tell("cat /proc/self/status")?;
        t.same("config.process.no-new-privileges", field(&said, "NoNewPrivs"), shown);
    }
    Ok(())
}

/// A score that is configured, and the caller's own where none is.
pub fn oom_score(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/oomScoreAdj", json!(321));
    t.same(
        "config.process.oom-score",
        bundle.tell("cat /proc/self/oom_score_adj")?.trim(),
        "321",
    );
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    let mut unset = t.bundle();
    t.same(
        "config.process.oom-score-unset",
        unset.tell("cat /proc/self/oom_score_adj")?,
        own,
    );
    Ok(())
}

/// Policy and nice value as `/proc/self/stat` shows them: fields 41 and 19, counted from 1.
pub fn scheduler(t: &mut Trial) -> Done {
    let id = "config.process.scheduler";
    let seen = |said: &str| -> Vec<String> {
        let rest = said.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split(' ').collect();
        // The text behind the name begins with field 3.
        [41, 19]
            .iter()
            .map(|n| fields.get(n - 3).unwrap_or(&"").to_string())
            .collect()
    };
    for (value, policy, nice) in [
        (json!({"policy": "SCHED_BATCH", "nice": 7}), "3", "7"),
        (json!({"policy": "SCHED_OTHER", "nice": 5}), "0", "5"),
        (json!({"policy": "SCHED_IDLE"}), "5", "0"),
    ] {
        let mut bundle = t.bundle();
        bundle.set("/process/scheduler", value);
        t.same(
            id,
            seen(&bundle.tell("cat /proc/self/stat")?),
            vec![policy.to_owned(), nice.to_owned()],
        );
    }
    Ok(())
}

/// As `ionice` shows it.
pub fn io_priority(t: &mut Trial) -> Done {
    let id = "config.process.io-priority";
    let mut bundle = t.bundle();
    bundle.set(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
    );
    t.same(id, bundle.tell("busybox ionice")?.trim(), "best-effort: prio 6");
    let mut idle = t.bundle();
    idle.set(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
    );
    t.must(id, idle.tell("busybox ionice")?.starts_with("idle"), "not idle");
    let mut invalid = t.bundle();
    invalid.script("true");
    invalid.set(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_NOSUCH", "priority": 0}),
    );
    t.refused(id, &invalid.run());
    Ok(())
}

/// Of the container's process nothing; of one that is executed in it, the final list.
pub fn exec_affinity(t: &mut Trial) -> Done {
    let id = "config.process.exec-affinity";
    let allowed = std::fs::read_to_string("/proc/self/status")?;
    let all = field(&allowed, "Cpus_allowed_list").to_owned();
    if all == "0" {
        return elsewhere("the guest has one CPU");
    }
    let mut bundle = t.bundle();
    bundle.set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    bundle.script("cat /proc/self/status >/status; while :; do sleep 1; done");
    bundle.started()?;
    t.same(id, field(&bundle.appears("status")?, "Cpus_allowed_list"), all.as_str());
    let said = bundle
        .call(&["exec", &bundle.id, "/bin/busybox", "cat", "/proc/self/status"])
        .ok()?;
    t.same(id, field(&said, "Cpus_allowed_list"), "1");
    Ok(())
}

/// User, group and other groups.
pub fn user(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    if t.subject.place.rootless {
        t.elsewhere("config.user.additional-gids", "an ordinary user has one group to give");
        let said = bundle.tell("cat /proc/self/status")?;
        t.same("config.user.uid", field(&said, "Uid"), "0\t0\t0\t0");
        t.same("config.user.gid", field(&said, "Gid"), "0\t0\t0\t0");
        return Ok(());
    }
    bundle.set(
        "/process/user",
        json!({"uid": 1234, "gid": 2345, "additionalGids": [5, 3456]}),
    );
    let said = bundle.tell("cat /proc/self/status")?;
    t.same("config.user.uid", field(&said, "Uid"), "1234\t1234\t1234\t1234");
    t.same("config.user.gid", field(&said, "Gid"), "2345\t2345\t2345\t2345");
    let groups: Vec<&str> = field(&said, "Groups")
        .split_whitespace()
        .filter(|group| *group != "2345")
        .collect();
    t.same("config.user.additional-gids", groups, vec!["5", "3456"]);
    Ok(())
}

/// A umask that is configured, and the caller's where none is.
pub fn umask(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/user/umask", json!(0o27));
    t.same("config.user.umask", bundle.tell("umask")?.trim(), "0027");
    let own = std::fs::read_to_string("/proc/self/status")?;
    let mut unset = t.bundle();
    t.same("config.user.umask", unset.tell("umask")?.trim(), field(&own, "Umask"));
    Ok(())
}
