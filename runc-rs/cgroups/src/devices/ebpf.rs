//! A device policy as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux: Documentation/admin-guide/cgroup-v2.rst
//! "Device controller"; `struct bpf_cgroup_dev_ctx` of linux/bpf.h). Assembled by hand: it is a chain of comparisons.

use super::Policy;

/// One instruction: `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset of a jump or a memory access.
    pub offset: i16,
    /// Immediate value.
    pub immediate: i32,
}

const LDX_MEM_W: u8 = 0x61;
const MOV64_IMM: u8 = 0xb7;
const MOV32_REG: u8 = 0xbc;
const AND32_IMM: u8 = 0x54;
const RSH32_IMM: u8 = 0x74;
/// 32-bit comparison, so that numbers above `i32::MAX` are not sign-extended. Linux 5.1.
const JNE32_IMM: u8 = 0x56;
const JNE32_REG: u8 = 0x5e;
const JEQ32_IMM: u8 = 0x16;
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;

// Registers: r1 context, r2 type, r3 access, r4 major, r5 minor, r0 and r6 scratch.
const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
    Insn {
        code,
        registers: dst | (src << 4),
        offset,
        immediate,
    }
}

/// The program of a policy. With the default "deny", an exception allows an access whose bits it has all; with the default "allow", an
/// exception denies an access of which it has any bit. The same as v1's lists do.
pub fn program(policy: &Policy) -> Vec<Insn> {
    let mut code = vec![
        // access_type holds the device's type in its low half and the access in its high half.
        insn(LDX_MEM_W, 2, 1, 0, 0),
        insn(MOV32_REG, 3, 2, 0, 0),
        insn(AND32_IMM, 2, 0, 0, 0xffff),
        insn(RSH32_IMM, 3, 0, 0, 16),
        insn(LDX_MEM_W, 4, 1, 4, 0),
        insn(LDX_MEM_W, 5, 1, 8, 0),
    ];
    for (what, access) in &policy.exceptions {
        let kind = if what.block { DEV_BLOCK } else { DEV_CHAR };
        let mut tests = vec![insn(JNE32_IMM, 2, 0, 0, kind)];
        if let Some(major) = what.major {
            tests.push(insn(JNE32_IMM, 4, 0, 0, major.cast_signed()));
        }
        if let Some(minor) = what.minor {
            tests.push(insn(JNE32_IMM, 5, 0, 0, minor.cast_signed()));
        }
        let bits = i32::from(access.0);
        if bits != 7 || policy.allow {
            tests.push(insn(MOV32_REG, 6, 3, 0, 0));
            tests.push(insn(AND32_IMM, 6, 0, 0, bits));
            tests.push(if policy.allow {
                insn(JEQ32_IMM, 6, 0, 0, 0)
            } else {
                insn(JNE32_REG, 6, 3, 0, 0)
            });
        }
        // A test that fails goes on with the next exception, past the two instructions of the verdict.
        let length = tests.len();
        for (at, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JNE32_IMM | JNE32_REG | JEQ32_IMM) {
                test.offset = (length - at - 1 + 2) as i16;
            }
        }
        code.extend(tests);
        code.extend([
            insn(MOV64_IMM, 0, 0, 0, i32::from(!policy.allow)),
            insn(EXIT, 0, 0, 0, 0),
        ]);
    }
    code.extend([
        insn(MOV64_IMM, 0, 0, 0, i32::from(policy.allow)),
        insn(EXIT, 0, 0, 0, 0),
    ]);
    code
}
