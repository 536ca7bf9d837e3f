//! The calls that rustix does not have.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;

use rustix::process::Pid;

/// Forks into new namespaces of every kind that `runc spec` names; `None` in the child.
pub(crate) fn clone_into_namespaces() -> io::Result<Option<Pid>> {
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
    // SAFETY: `clone_args` is plain data for which all zeroes are valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(flags.cast_unsigned());
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: without CLONE_VM this is a fork on the caller's stack, of a program with one thread; the structure is valid and of the size passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&arguments),
            size_of::<libc::clone_args>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).ok().and_then(Pid::from_raw))
}

/// Executes `program` without arguments or environment. Returns only on failure.
pub(crate) fn execute(program: &CString) -> io::Error {
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: a C string and two arrays of such that end with a null pointer, all alive.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Waits for a child; the peak of its resident memory in KiB, and its processor time in microseconds, both with its own children's.
pub(crate) fn wait_for_usage(pid: i32) -> io::Result<(i64, i64)> {
    let mut status = 0;
    // SAFETY: `rusage` is plain data for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are valid for the results.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited < 0 {
        return Err(io::Error::last_os_error());
    }
    if status != 0 {
        return Err(io::Error::other(format!("the program ended with status {status:#x}")));
    }
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    Ok((usage.ru_maxrss, micros(usage.ru_utime) + micros(usage.ru_stime)))
}
