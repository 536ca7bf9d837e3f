//! Instructions of classic BPF (Linux: Documentation/networking/filter.rst), those that seccomp takes and we use.

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a test is true.
    pub jt: u8,
    /// Instructions to skip when a test is false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `A = word at k` of `struct seccomp_data`.
pub(crate) const LD_ABS: u16 = 0x20;
/// `A &= k`.
pub(crate) const AND: u16 = 0x54;
/// Skip `k` instructions.
pub(crate) const JA: u16 = 0x05;
/// `A == k`.
pub(crate) const JEQ: u16 = 0x15;
/// `A > k`.
pub(crate) const JGT: u16 = 0x25;
/// `A >= k`.
pub(crate) const JGE: u16 = 0x35;
/// `A & k != 0`. We emit none; other compilers' filters have it.
pub(crate) const JSET: u16 = 0x45;
/// Answer `k`.
pub(crate) const RET: u16 = 0x06;

/// Offset of `nr` in `struct seccomp_data`.
pub(crate) const OFFSET_NR: u32 = 0;
/// Offset of `arch`.
pub(crate) const OFFSET_ARCH: u32 = 4;
/// Offset of `args[0]`; eight bytes each, the low half first on the architectures that we have tables for.
pub(crate) const OFFSET_ARGS: u32 = 16;

impl Insn {
    pub(crate) const fn new(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    pub(crate) const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }
}
