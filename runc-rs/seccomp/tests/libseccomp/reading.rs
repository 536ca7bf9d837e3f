//! What a policy says of a call, read off the policy: the rules as runtime-spec and libseccomp have them, without compiling anything.

use runc_rs_seccomp::Call;
use runc_rs_seccomp::syscalls::Table;

use crate::policy::{Arg, Policy, Rule};

/// The answer; `None` for calls of architectures that the policy does not list.
pub(crate) fn answer(policy: &Policy, call: &Call, name: &str, table: Table) -> Option<u32> {
    let listed = |arch: &str| policy.architectures.contains(&arch);
    let covered = match table {
        Table::X86_64 => true,
        Table::X32 => listed("SCMP_ARCH_X32"),
        Table::X86 => listed("SCMP_ARCH_X86"),
        Table::Arm => listed("SCMP_ARCH_ARM"),
        Table::Aarch64 => listed("SCMP_ARCH_AARCH64"),
    };
    if !covered {
        return None;
    }
    let default = policy.default.word();
    let rules: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| rule.name == name && rule.answer.word() != default)
        .collect();
    // A rule without arguments wins; among those with, the first that holds.
    let chosen = rules
        .iter()
        .find(|rule| rule.args.iter().all(|arg| (arg.op, arg.value, arg.second) == (6, 0, 0)))
        .or_else(|| rules.iter().find(|rule| holds(rule, call, table.is_64())));
    Some(chosen.map_or(default, |rule| rule.answer.word()))
}

fn holds(rule: &Rule, call: &Call, wide: bool) -> bool {
    let test = |arg: &Arg| compare(arg, call.args[arg.index], wide);
    let repeated = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
    if repeated {
        rule.args.iter().any(test)
    } else {
        rule.args.iter().all(test)
    }
}

fn compare(arg: &Arg, actual: u64, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (actual, value, second) = (cut(actual), cut(arg.value), cut(arg.second));
    match arg.op {
        0 => actual != value,
        1 => actual < value,
        2 => actual <= value,
        3 => actual == value,
        4 => actual >= value,
        5 => actual > value,
        _ => actual & value == second,
    }
}
