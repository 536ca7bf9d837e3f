//! `seccomp(2)`.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::insn::Insn;
use crate::program::flag;

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAIL: libc::c_uint = 2;

fn errno() -> Errno {
    // SAFETY: the C library's errno location of this thread is always valid.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Loads a filter with flags. Allocates nothing.
///
/// # Errors
/// What the kernel says; a thread that TSYNC could not bring along is ESRCH.
pub fn load(filter: &[Insn], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `program` and the instructions it points to are live for the call, and the kernel only reads them; `Insn` has the
    // layout of `struct sock_filter`.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    match result {
        ..0 => Err(errno()),
        0 if flags & flag::NEW_LISTENER == 0 => Ok(None),
        // Without a listener, a positive result is the thread that could not be synchronized.
        _ if flags & flag::NEW_LISTENER == 0 => Err(Errno::SRCH),
        // SAFETY: with NEW_LISTENER the kernel returns a new descriptor, which nobody else owns yet.
        fd => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })),
    }
}

/// Whether the kernel knows an action (the upper half of an answer).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 that is live for the call.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, std::ptr::from_ref(&action)) == 0 }
}

/// Whether the kernel knows a flag: with a null program it gets as far as EFAULT if so.
pub(crate) fn flag_supported(flag: u32) -> bool {
    // SAFETY: a null program is refused before anything is changed.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flag, std::ptr::null::<u8>()) };
    result < 0 && errno() == Errno::FAULT
}
