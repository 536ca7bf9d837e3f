//! What a filter answers, without the kernel: for tools that explain a policy, and for tests.

use crate::insn::{AND, Insn, JA, JEQ, JGE, JGT, JSET, LD_ABS, OFFSET_ARCH, OFFSET_ARGS, OFFSET_NR, RET};

/// A system call as a filter sees it: `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// The architecture, `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The caller's instruction pointer.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64, high: bool| if high { (value >> 32) as u32 } else { value as u32 };
        match offset {
            OFFSET_NR => Some(self.nr),
            OFFSET_ARCH => Some(self.arch),
            8 | 12 => Some(half(self.instruction_pointer, offset == 12)),
            _ if offset.is_multiple_of(4) => {
                let word = (offset - OFFSET_ARGS) / 4;
                self.args.get(word as usize / 2).map(|arg| half(*arg, word % 2 == 1))
            }
            _ => None,
        }
    }
}

/// The answer of a filter to a call (`SECCOMP_RET_*` of linux/seccomp.h); `None` for a program that the kernel would not take.
pub fn evaluate(program: &[Insn], call: &Call) -> Option<u32> {
    let mut a = 0_u32;
    let mut pc = 0_usize;
    // Every jump goes forward, so this ends.
    loop {
        let insn = program.get(pc)?;
        pc += 1;
        let holds = match insn.code {
            RET => return Some(insn.k),
            LD_ABS => {
                a = call.word(insn.k)?;
                continue;
            }
            AND => {
                a &= insn.k;
                continue;
            }
            JA => {
                pc += insn.k as usize;
                continue;
            }
            JEQ => a == insn.k,
            JGT => a > insn.k,
            JGE => a >= insn.k,
            JSET => a & insn.k != 0,
            _ => return None,
        };
        pc += usize::from(if holds { insn.jt } else { insn.jf });
    }
}
