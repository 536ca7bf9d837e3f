//! Names and numbers of system calls.

mod table;

use oci_spec::runtime::Arch;

/// A name and its numbers; negative is "no such call".
type Row = (&'static str, [i32; 5]);

/// The architectures with a column of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// x86-64.
    X86_64 = 0,
    /// x32: numbers without the bit that marks them.
    X32 = 1,
    /// 32-bit x86.
    X86 = 2,
    /// Arm EABI.
    Arm = 3,
    /// 64-bit Arm.
    Aarch64 = 4,
}

/// All tables.
pub const TABLES: [Table; 5] = [Table::X86_64, Table::X32, Table::X86, Table::Arm, Table::Aarch64];

/// The bit in a system call's number that marks x32 (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

/// Numbers of Arm's private calls (`__ARM_NR_BASE`) begin here.
pub const ARM_PRIVATE: u32 = 0x000f_0000;

impl Table {
    /// The table of an OCI architecture.
    pub fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchArm => Some(Self::Arm),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchNative => Self::native(),
            _ => None,
        }
    }

    /// The table of the machine this was built for.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    /// The kernel's word for the architecture (`AUDIT_ARCH_*` of linux/audit.h). x32 has x86-64's.
    pub fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Arm => 0x4000_0028,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Whether arguments are compared as 64 bits. (Registers of x32 are, but its arguments are meant as 32.)
    pub fn is_64(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }
}

/// Whether any architecture has a call of this name.
pub fn is_known(name: &str) -> bool {
    numbers(name).is_some()
}

/// All names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::TABLE.iter().map(|(name, _)| *name)
}

/// The number of a call, as the kernel sees it: x32's with its bit.
pub fn number(name: &str, table: Table) -> Option<u32> {
    numbers(name)?.of(table)
}

/// The numbers of one call on every architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers(&'static [i32; 5]);

impl Numbers {
    pub(crate) fn of(self, table: Table) -> Option<u32> {
        let bit = if table == Table::X32 { X32_BIT } else { 0 };
        u32::try_from(self.0[table as usize]).ok().map(|n| n | bit)
    }
}

/// Looks a name up.
pub(crate) fn numbers(name: &str) -> Option<Numbers> {
    let at = table::TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(Numbers(&table::TABLE[at].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_numbers_are_unique() {
        assert!(table::TABLE.is_sorted_by(|a, b| a.0 < b.0));
        for column in TABLES {
            let mut numbers: Vec<i32> = table::TABLE
                .iter()
                .map(|(_, n)| n[column as usize])
                .filter(|n| *n >= 0)
                .collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            // sync_file_range2 has two names on arm.
            let aliases = usize::from(column == Table::Arm);
            assert_eq!(numbers.len() + aliases, all, "{column:?}");
        }
    }

    #[test]
    fn some_numbers_everybody_knows() {
        assert_eq!(number("read", Table::X86_64), Some(0));
        assert_eq!(number("read", Table::X86), Some(3));
        assert_eq!(number("execve", Table::X32), Some(X32_BIT | 520));
        assert_eq!(number("openat", Table::Aarch64), Some(56));
        assert_eq!(number("open", Table::Aarch64), None);
        assert_eq!(number("set_tls", Table::Arm), Some(0xf0005));
        assert_eq!(number("nope", Table::X86_64), None);
        for table in TABLES {
            let bit = if table == Table::X32 { X32_BIT } else { 0 };
            assert_eq!(number("clone3", table), Some(435 | bit));
            assert_eq!(number("mseal", table), Some(462 | bit));
        }
    }

    /// The numbers of this machine, from the C library's headers by way of the libc crate.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_numbers_are_those_of_the_c_library() {
        let pairs = [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("seccomp", libc::SYS_seccomp),
            ("openat2", libc::SYS_openat2),
            ("close_range", libc::SYS_close_range),
            ("memfd_secret", libc::SYS_memfd_secret),
            ("futex_waitv", libc::SYS_futex_waitv),
            ("umount2", libc::SYS_umount2),
            ("newfstatat", libc::SYS_newfstatat),
        ];
        for (name, known) in pairs {
            assert_eq!(number(name, Table::X86_64).map(i64::from), Some(known), "{name}");
        }
    }
}
