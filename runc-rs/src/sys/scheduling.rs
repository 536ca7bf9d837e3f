//! How the calling process is run: personality, scheduler, I/O class, processors, memory nodes.
#![allow(unsafe_code)]

use std::io;

use super::check;

/// `personality(2)`.
pub(crate) fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) })?;
    Ok(())
}

/// `ioprio_set(2)` for the calling process: class 1 real-time, 2 best effort, 3 idle; level 0 to 7.
pub(crate) fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, (class << 13) | level) })?;
    Ok(())
}

/// `struct sched_attr` of `<linux/sched/types.h>`, version 1 (Linux 5.3).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    /// Nanoseconds, as the next two.
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
    pub(crate) util_min: u32,
    pub(crate) util_max: u32,
}

/// `sched_setattr(2)` for the calling process.
pub(crate) fn set_scheduler(attr: &SchedAttr) -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..*attr
    };
    // SAFETY: the kernel reads `size` bytes of the structure.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) })?;
    Ok(())
}

/// `sched_setaffinity(2)` for the calling thread: bit `n` of the mask is processor `n`.
pub(crate) fn set_affinity(mask: &[u64]) -> io::Result<()> {
    // SAFETY: pointer and length in bytes are of the same slice, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })?;
    Ok(())
}

/// `set_mempolicy(2)`: `mode` with its flags, bit `n` of `nodes` for memory node `n`; no nodes at all where the slice is empty.
pub(crate) fn set_memory_policy(mode: u32, nodes: &[u64]) -> io::Result<()> {
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // The kernel takes the number of bits plus one.
    let bits = if nodes.is_empty() {
        0
    } else {
        size_of_val(nodes) * 8 + 1
    };
    // SAFETY: the pointer is null with a length of 0, or of a slice that has that many bits; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })?;
    Ok(())
}
