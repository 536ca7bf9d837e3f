//! config-linux.md: seccomp, as the container's program meets it. `mkdir` is the system call that is tried: no shell needs it.

use runtime_spec::seccomp::Context;
use serde_json::{Value, json};

use super::field;
use crate::conformance::bundle::Bundle;
use crate::conformance::trial::{Done, Trial};

/// A script that calls `mkdir`, and says how that went. The status is the shell's, or the signal's.
const TRY: &str = "(busybox mkdir /tried; echo status $?) 2>&1; echo end $?";

fn with<'a>(t: &Trial<'a>, profile: Value) -> Bundle<'a> {
    let mut bundle = t.bundle();
    // Without it, only CAP_SYS_ADMIN may set a filter after the capabilities are dropped.
    bundle.set("/process/noNewPrivileges", json!(true));
    bundle.set("/linux/seccomp", profile);
    bundle
}

/// A profile that allows everything but these calls.
fn allow_but(action: &str, more: Value) -> Value {
    let mut rule = json!({"names": ["mkdir", "mkdirat"], "action": action});
    if let (Some(rule), Some(more)) = (rule.as_object_mut(), more.as_object()) {
        rule.extend(more.clone());
    }
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"], "syscalls": [rule]})
}

/// What becomes of a `mkdir` under each action.
pub fn actions(t: &mut Trial) -> Done {
    let id = "linux.seccomp.actions";
    for (action, wanted) in [
        ("SCMP_ACT_ALLOW", "status 0"),
        ("SCMP_ACT_LOG", "status 0"),
        ("SCMP_ACT_ERRNO", "Operation not permitted"),
        // SIGSYS is 31; a subshell of busybox runs mkdir within itself.
        ("SCMP_ACT_TRAP", "159"),
        ("SCMP_ACT_KILL", "159"),
        ("SCMP_ACT_KILL_THREAD", "159"),
        ("SCMP_ACT_KILL_PROCESS", "159"),
    ] {
        let mut bundle = with(t, allow_but(action, json!({})));
        let said = bundle.tell(TRY)?;
        t.must(id, said.contains(wanted), format_args!("{action}: {said}"));
    }
    let mut default = with(
        t,
        json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    let said = default.tell(&format!("{TRY}; cat /proc/self/status"))?;
    t.must(
        "linux.seccomp.default-action",
        said.contains("not permitted") && field(&said, "Seccomp:") == "2",
        said,
    );
    Ok(())
}

/// The error that is given, by rule and by default.
pub fn errnos(t: &mut Trial) -> Done {
    let id = "linux.seccomp.errno";
    for (more, wanted) in [
        (json!({}), "Operation not permitted"),
        (json!({"errnoRet": 38}), "Function not implemented"),
        (json!({"errnoRet": 28}), "No space left on device"),
    ] {
        let mut bundle = with(t, allow_but("SCMP_ACT_ERRNO", more));
        let said = bundle.tell(TRY)?;
        t.must(id, said.contains(wanted), format_args!("{wanted}: {said}"));
    }
    // Everything but mkdir is allowed by name, as `mkdir` by default has the error; the list is what a busybox and the runtimes' last steps need.
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28,
        "syscalls": [{"names": allowed_names(), "action": "SCMP_ACT_ALLOW"}]});
    let mut bundle = with(t, profile);
    let said = bundle.tell(TRY)?;
    t.must(
        id,
        said.contains("No space left on device"),
        format_args!("default: {said}"),
    );
    Ok(())
}

/// Docker's default profile names what programs need; `mkdir` is taken out.
fn allowed_names() -> Vec<String> {
    let none = Vec::new();
    let profile = runtime_spec::seccomp::default_profile(&Context::native(&none));
    let names = profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|rule| rule.names().clone());
    names.filter(|name| !name.starts_with("mkdir")).collect()
}

/// An error number beside an action that returns none.
pub fn errno_of_another_action(t: &mut Trial) -> Done {
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_LOG"] {
        let mut bundle = with(t, allow_but(action, json!({"errnoRet": 1})));
        bundle.script("true");
        let said = bundle.run();
        t.must(
            "linux.seccomp.errno-unsupported",
            said.refused(),
            format_args!("{action}: {said:?}"),
        );
    }
    let mut bundle = with(t, json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}));
    bundle.script("true");
    t.refused("linux.seccomp.default-errno-unsupported", &bundle.run());
    Ok(())
}

/// Foreign architectures beside the native one: the filter still holds.
pub fn architectures(t: &mut Trial) -> Done {
    for list in [
        json!(["SCMP_ARCH_X86"]),
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_S390X"]),
        json!([]),
    ] {
        let mut profile = allow_but("SCMP_ACT_ERRNO", json!({}));
        profile["architectures"] = list.clone();
        let mut bundle = with(t, profile);
        let said = bundle.tell(TRY)?;
        t.must(
            "linux.seccomp.architectures",
            said.contains("not permitted"),
            format_args!("{list}: {said}"),
        );
    }
    Ok(())
}

/// Flags that each kernel has.
pub fn flags(t: &mut Trial) -> Done {
    for list in [
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!([]),
    ] {
        let mut profile = allow_but("SCMP_ACT_ERRNO", json!({}));
        profile["flags"] = list.clone();
        let mut bundle = with(t, profile);
        let said = bundle.tell(TRY)?;
        t.must(
            "linux.seccomp.flags",
            said.contains("not permitted"),
            format_args!("{list}: {said}"),
        );
    }
    let mut profile = allow_but("SCMP_ACT_ERRNO", json!({}));
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_NOSUCH"]);
    let mut bundle = with(t, profile);
    bundle.script("true");
    t.refused("linux.seccomp.flags", &bundle.run());
    Ok(())
}

/// Rules without names.
pub fn invalid(t: &mut Trial) -> Done {
    let mut profile = allow_but("SCMP_ACT_ERRNO", json!({}));
    profile["syscalls"][0]["names"] = json!([]);
    let mut bundle = with(t, profile);
    bundle.script("true");
    t.refused("linux.seccomp.names", &bundle.run());
    Ok(())
}

/// Each operator on the signal of `kill`: the second argument, 0 to 3. Signal 0 asks only whether one may.
pub fn operators(t: &mut Trial) -> Done {
    let id = "linux.seccomp.operators";
    // Whether `kill -N` is refused, for CONT (18), URG (23) and WINCH (28): none of them ends the shell.
    for (op, value, two, refused) in [
        ("SCMP_CMP_EQ", 23, 0, [false, true, false]),
        ("SCMP_CMP_NE", 23, 0, [true, false, true]),
        ("SCMP_CMP_LT", 23, 0, [true, false, false]),
        ("SCMP_CMP_LE", 23, 0, [true, true, false]),
        ("SCMP_CMP_GE", 23, 0, [false, true, true]),
        ("SCMP_CMP_GT", 23, 0, [false, false, true]),
        // 18 is 0b10010, 23 0b10111 and 28 0b11100.
        ("SCMP_CMP_MASKED_EQ", 0b01100, 0b01100, [false, false, true]),
    ] {
        let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}]});
        let mut bundle = with(t, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        let said = bundle.tell("for s in 18 23 28; do kill -$s $$ 2>/dev/null && echo sent || echo refused; done")?;
        let seen: Vec<bool> = said.lines().map(|line| line == "refused").collect();
        t.must(id, seen == refused, format_args!("{op}: {said}"));
    }
    Ok(())
}
