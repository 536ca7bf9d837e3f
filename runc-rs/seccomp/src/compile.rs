//! From intervals to instructions.

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator};

use crate::error::{Error, Result};
use crate::insn::{AND, Insn, JA, JEQ, JGE, JGT, LD_ABS, OFFSET_ARCH, OFFSET_ARGS, OFFSET_NR, RET};
use crate::program::{Program, flag};
use crate::rules::{Conditional, Leaf, Policy, RET_KILL_THREAD};
use crate::syscalls::{Table, X32_BIT};

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles a policy for this machine.
///
/// # Errors
/// See [`Error`].
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Program> {
    let native = Table::native().ok_or_else(|| Error::Native(std::env::consts::ARCH.to_owned()))?;
    compile_for(seccomp, native)
}

/// Compiles a policy for a machine of another architecture.
///
/// # Errors
/// See [`Error`].
pub fn compile_for(seccomp: &LinuxSeccomp, native: Table) -> Result<Program> {
    let policy = Policy::new(seccomp)?;
    let (sections, foreign) = policy.sections(native);
    let mut filter = vec![Insn::new(LD_ABS, OFFSET_ARCH)];
    for section in &sections {
        let start = filter.len();
        filter.push(Insn::jump(JEQ, section.audit_arch, 1, 0));
        filter.push(Insn::new(JA, 0));
        filter.push(Insn::new(LD_ABS, OFFSET_NR));
        tree(&section.leaves, section.wide, &mut filter);
        filter[start + 1].k = (filter.len() - start - 2) as u32;
    }
    filter.push(Insn::new(RET, RET_KILL_THREAD));
    if filter.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong(filter.len()));
    }
    let (flags, optional_flags) = flags(seccomp, policy.notifies);
    Ok(Program {
        filter,
        flags,
        optional_flags,
        unknown: policy.unknown,
        foreign,
    })
}

/// The flags of `seccomp(2)`, and those among them that an older kernel may lack. Without a word about flags, runc asks for
/// `SPEC_ALLOW`.
fn flags(seccomp: &LinuxSeccomp, notifies: bool) -> (u32, u32) {
    let (mut flags, optional) = match seccomp.flags() {
        None => (flag::SPEC_ALLOW, flag::SPEC_ALLOW),
        Some(list) => (list.iter().fold(0, |all, one| all | bit(*one)), 0),
    };
    if notifies {
        flags |= flag::NEW_LISTENER;
        if flags & flag::TSYNC != 0 {
            flags |= flag::TSYNC_ESRCH;
        }
    } else {
        // It is about the listener.
        flags &= !flag::WAIT_KILLABLE_RECV;
    }
    (flags, optional)
}

fn bit(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => flag::LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => flag::TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
    }
}

/// A balanced tree of "is the number at least ...?", its leaves in place.
fn tree(leaves: &[(u32, Leaf)], wide: bool, code: &mut Vec<Insn>) {
    match leaves {
        [] => {}
        // x32 lives in x86-64's tree, but its arguments are compared by 32 bits, as libseccomp does.
        [(start, leaf)] => leaf_code(leaf, wide && *start < X32_BIT, code),
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let (at, pivot) = (code.len(), high[0].0);
            code.push(Insn::jump(JGE, pivot, 0, 0));
            tree(high, wide, code);
            let length = code.len() - at - 1;
            match u8::try_from(length) {
                Ok(skip) => code[at].jf = skip,
                Err(_) => {
                    // Further than a conditional jump reaches.
                    code[at].jt = 1;
                    code.insert(at + 1, Insn::new(JA, length as u32));
                }
            }
            tree(low, wide, code);
        }
    }
}

fn leaf_code(leaf: &Leaf, wide: bool, code: &mut Vec<Insn>) {
    match leaf {
        Leaf::Answer(answer) => code.push(Insn::new(RET, *answer)),
        Leaf::Conditions(conditions, otherwise) => {
            code.extend(conditions.iter().flat_map(|c| conditional(c, wide)));
            code.push(Insn::new(RET, *otherwise));
        }
    }
}

/// Where a test goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// The end of this test: it holds.
    Pass,
    /// The end of the whole rule: it does not hold.
    Fail,
}

/// An instruction whose jumps are not numbers yet.
type Draft = (u16, u32, To, To);

/// The tests of a rule, then its answer. Falls through to what follows when a test fails.
fn conditional(rule: &Conditional, wide: bool) -> Vec<Insn> {
    let mut drafts: Vec<(Draft, usize)> = Vec::new();
    for test in &rule.tests {
        let one = argument(test, wide);
        let end = drafts.len() + one.len();
        drafts.extend(one.into_iter().map(|draft| (draft, end)));
    }
    // Six tests of seven instructions each: every distance fits eight bits.
    let fail = drafts.len() + 1;
    let mut code: Vec<Insn> = drafts
        .iter()
        .enumerate()
        .map(|(at, ((op, k, jt, jf), end))| {
            let distance = |to: To| match to {
                To::Next => 0,
                To::Pass => (end - at - 1) as u8,
                To::Fail => (fail - at - 1) as u8,
            };
            Insn::jump(*op, *k, distance(*jt), distance(*jf))
        })
        .collect();
    code.push(Insn::new(RET, rule.answer));
    code
}

/// One test of one argument. A wide argument is compared by its halves; of the value for a narrow one the low half counts.
fn argument(test: &LinuxSeccompArg, wide: bool) -> Vec<Draft> {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpLe, ScmpCmpLt, ScmpCmpMaskedEq, ScmpCmpNe};
    use To::{Fail, Next, Pass};
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(test.value());
    let offset = OFFSET_ARGS + 8 * test.index() as u32;
    let load = |offset| (LD_ABS, offset, Next, Next);
    if test.op() == ScmpCmpMaskedEq {
        let (want_high, want_low) = halves(test.value_two().unwrap_or(0));
        let half = |offset, mask, want| [load(offset), (AND, mask, Next, Next), (JEQ, want, Next, Fail)];
        let mut code = Vec::new();
        if wide && (high, want_high) != (0, 0) {
            code.extend(half(offset + 4, high, want_high));
        }
        code.extend(half(offset, low, want_low));
        return code;
    }
    // The high half decides, unless it is equal: then the low half does.
    let (above, below, last): (To, To, Draft) = match test.op() {
        ScmpCmpNe => (Pass, Pass, (JEQ, low, Fail, Next)),
        ScmpCmpLt => (Fail, Pass, (JGE, low, Fail, Next)),
        ScmpCmpLe => (Fail, Pass, (JGT, low, Fail, Next)),
        ScmpCmpGe => (Pass, Fail, (JGE, low, Next, Fail)),
        ScmpCmpGt => (Pass, Fail, (JGT, low, Next, Fail)),
        ScmpCmpEq | ScmpCmpMaskedEq => (Fail, Fail, (JEQ, low, Next, Fail)),
    };
    let mut code = Vec::new();
    if wide {
        code.push(load(offset + 4));
        if above != below {
            code.push((JGT, high, above, Next));
        }
        code.push((JEQ, high, Next, below));
    }
    code.extend([load(offset), last]);
    code
}

impl Program {
    /// Architectures of the policy that were left out for want of a table; calls of theirs are killed.
    pub fn foreign_architectures(&self) -> &[Arch] {
        &self.foreign
    }
}

#[cfg(test)]
mod tests;
