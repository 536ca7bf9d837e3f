//! The command line of runc-rs beside that of Debian's runc: the same commands in the same states of a container, and the same exit codes,
//! messages, help and shapes of what is printed. What differs is listed with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod configurations;
mod features;
mod lines;
mod shape;
mod side;
mod terminal;

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
        "create",
        "delete",
        "events",
        "exec",
        "kill",
        "list",
        "pause",
        "ps",
        "resume",
        "run",
        "spec",
        "start",
        "state",
        "update",
        "features",
        "checkpoint",
        "restore",
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
            "exec --cgroup cpu:nope c ls",
            255,
            "/sys/fs/cgroup/cpu/NAME/nope/tasks: no such file or directory",
            WORDS,
        ),
        different(
            "exec --cgroup cpu:../x c ls",
            255,
            "../x is not a sub cgroup path",
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
