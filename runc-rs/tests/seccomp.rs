//! System-call policies in a real container: every action, every operator, flags, and the listener's edges.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bundle;
use serde_json::{Value, json};

fn policy(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

#[test]
fn every_action_has_its_effect() {
    // What the shell says of `mkdir`: 0 is success, 1 a refusal, 128 and a number a signal.
    for (action, errno, code, word) in [
        ("SCMP_ACT_ALLOW", None, "0", ""),
        ("SCMP_ACT_LOG", None, "0", ""),
        ("SCMP_ACT_ERRNO", None, "1", "Operation not permitted"),
        ("SCMP_ACT_ERRNO", Some(28), "1", "No space left on device"),
        // Without a tracer.
        ("SCMP_ACT_TRACE", None, "1", "Function not implemented"),
        ("SCMP_ACT_TRAP", None, "159", "Bad system call"),
        ("SCMP_ACT_KILL", None, "159", "Bad system call"),
        ("SCMP_ACT_KILL_THREAD", None, "159", "Bad system call"),
        ("SCMP_ACT_KILL_PROCESS", None, "159", "Bad system call"),
    ] {
        let mut bundle = Bundle::new();
        let mut rule = json!({"names": ["mkdir", "mkdirat", "no_such_call"], "action": action});
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        bundle.set("/linux/seccomp", policy(json!([rule])));
        let outcome = bundle.run_script("mkdir /tmp/x; echo $?");
        assert_eq!(outcome.stdout.trim(), code, "{action}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(word), "{action}: {}", outcome.stderr);
    }
}

#[test]
fn every_operator_compares() {
    // `kill` with the signals 0, 17 (CHLD), 18 (CONT) and 23 (URG): which of them are refused when the second argument is compared with 18.
    let script = "for s in 0 17 18 23; do kill -$s $$ 2>/dev/null && echo -n 1 || echo -n 0; done";
    for (op, value, two, allowed) in [
        ("SCMP_CMP_EQ", 18, 0, "1101"),
        ("SCMP_CMP_NE", 18, 0, "0010"),
        ("SCMP_CMP_LT", 18, 0, "0011"),
        ("SCMP_CMP_LE", 18, 0, "0001"),
        ("SCMP_CMP_GE", 18, 0, "1100"),
        ("SCMP_CMP_GT", 18, 0, "1110"),
        // The lowest bit set: 17 and 23.
        ("SCMP_CMP_MASKED_EQ", 1, 1, "1010"),
    ] {
        let mut bundle = Bundle::new();
        let test = json!({"index": 1, "value": value, "valueTwo": two, "op": op});
        bundle.set(
            "/linux/seccomp",
            policy(json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [test]}])),
        );
        assert_eq!(bundle.run_script(script).ok(), allowed, "{op}");
    }
}

#[test]
fn a_policy_need_not_allow_what_the_runtime_itself_calls() {
    let mut bundle = Bundle::new();
    // The filter comes last: only what the program calls has to be allowed.
    let script = "mkdir /tmp/x; echo $?";
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28, "syscalls": [{"names": OLD.to_vec(), "action": "SCMP_ACT_ALLOW"}]}),
    );
    let outcome = bundle.run_script(script);
    assert_eq!(outcome.stdout, "1\n");
    assert!(outcome.stderr.contains("No space left on device"), "{}", outcome.stderr);
}

/// What a shell that only prints needs.
const OLD: [&str; 47] = [
    "read",
    "write",
    "open",
    "openat",
    "close",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "poll",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "ioctl",
    "access",
    "dup2",
    "getpid",
    "getppid",
    "clone",
    "fork",
    "vfork",
    "execve",
    "exit",
    "exit_group",
    "wait4",
    "fcntl",
    "getcwd",
    "umask",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "setpgid",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "prlimit64",
    "getrandom",
    "rseq",
    "readlink",
    "uname",
    "prctl",
];

#[test]
fn flags_are_taken_and_unknown_words_are_refused_by_name() {
    let mut bundle = Bundle::new();
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
    ] {
        let mut seccomp = policy(rule.clone());
        seccomp["flags"] = flags;
        seccomp["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        bundle.set("/linux/seccomp", seccomp);
        assert_eq!(
            bundle.run_script("mkdir /tmp/x 2>/dev/null || echo refused").ok(),
            "refused\n"
        );
    }
    for (place, word, expected) in [
        (
            "/linux/seccomp/defaultAction",
            json!("SCMP_ACT_MOON"),
            "string SCMP_ACT_MOON is not a valid action for seccomp",
        ),
        (
            "/linux/seccomp/architectures",
            json!(["SCMP_ARCH_MOON"]),
            "string SCMP_ARCH_MOON is not a valid arch for seccomp",
        ),
        (
            "/linux/seccomp/flags",
            json!(["MOON"]),
            "seccomp flag MOON is not known to runc",
        ),
        (
            "/linux/seccomp/defaultAction",
            json!("SCMP_ACT_NOTIFY"),
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            "/linux/seccomp/syscalls",
            json!([{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            "/linux/seccomp/syscalls",
            json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]),
            "listenerPath",
        ),
    ] {
        let mut bundle = Bundle::new();
        bundle.set("/linux/seccomp", policy(rule.clone()));
        bundle.set(place, word);
        let words = bundle.run().err();
        assert!(words.contains(expected), "{words}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_listener_that_is_not_there_is_an_error_and_leaves_nothing() {
    let mut bundle = Bundle::new();
    let mut seccomp = policy(json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]));
    seccomp["listenerPath"] = json!(bundle.dir.path().join("nobody.sock"));
    bundle.set("/linux/seccomp", seccomp);
    let words = bundle.run().err();
    assert!(
        words.contains("nobody.sock") && words.contains("no such file or directory"),
        "{words}"
    );
    bundle.assert_nothing_left();
}
