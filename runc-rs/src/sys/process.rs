//! Forking, executing, signals, descriptors.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::check;

/// Which side of a fork the caller is on.
pub(crate) enum Fork {
    /// In the parent, with the child's process id.
    Parent(i32),
    /// In the child.
    Child,
}

/// glibc's `fork`: it takes the allocator's locks, so that the child of a multi-threaded program may allocate.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the child runs only code of this crate, which uses no lock of the parent's other threads (no
    // `std::env`, no standard streams of `std`, no thread pools), and ends in `execve` or `_exit`.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Ok(Fork::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a sibling: the new process is a child of the caller's parent (`CLONE_PARENT`). Only for a single-threaded caller.
pub(crate) fn fork_sibling() -> io::Result<Fork> {
    // SAFETY: without CLONE_VM this is a fork; no stack or thread pointers are passed. The caller is the
    // single-threaded child of `fork`, so no lock can be held by a thread that does not exist in the copy.
    let result = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    match i32::try_from(check(result)?) {
        Ok(0) => Ok(Fork::Child),
        Ok(pid) => Ok(Fork::Parent(pid)),
        Err(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// `struct clone_args` of `<linux/sched.h>`, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks, into the cgroup2 directory `cgroup` (`CLONE_INTO_CGROUP`) where one is given, with further `CLONE_NEW*` flags; with `sibling` as a child of the
/// caller's parent. Only for a caller with one thread: no lock of libc is taken.
pub(crate) fn fork_into_cgroup(cgroup: Option<BorrowedFd<'_>>, flags: i32, sibling: bool) -> io::Result<Fork> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let sibling_flag = if sibling { libc::CLONE_PARENT } else { 0 };
    let args = CloneArgs {
        flags: cgroup.map_or(0, |_| CLONE_INTO_CGROUP) | u64::from((flags | sibling_flag).cast_unsigned()),
        // A sibling inherits its creator's signal.
        exit_signal: if sibling {
            0
        } else {
            u64::from(libc::SIGCHLD.cast_unsigned())
        },
        cgroup: cgroup.map_or(0, |cgroup| u64::from(cgroup.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM this is a fork on the caller's stack. `args` is a valid `struct clone_args` of the size passed. The
    // caller has one thread, so no lock can be held by a thread that does not exist in the copy.
    let result = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), size_of::<CloneArgs>()) };
    match i32::try_from(check(result)?) {
        Ok(0) => Ok(Fork::Child),
        Ok(pid) => Ok(Fork::Parent(pid)),
        Err(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// Ends the process at once: no destructors, no exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the process image. Returns only on failure.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: path is a C string; both arrays are null-terminated arrays of C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the process image by the file that `fd` refers to. Returns only on failure.
pub(crate) fn execveat(fd: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> io::Error {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: as for `execve`; the empty path with AT_EMPTY_PATH means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Every signal back to its default action, and none blocked: what a fresh program expects.
pub(crate) fn reset_signals() {
    // SAFETY: SIG_DFL installs no handler; numbers that cannot be set (SIGKILL, SIGSTOP, libc's own) are refused by
    // the call, which changes nothing then. The empty set is initialised by `sigemptyset` before use.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Gives `SIGCHLD` its default action. A program that was started with the signal ignored (the disposition survives `execve`) could wait for
/// no child: the kernel would reap them all. For the start of a program's `main`; a library leaves its program's signals alone.
pub fn stop_ignoring_children() {
    // SAFETY: SIG_DFL installs no handler, and the number is a valid one.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Closes every descriptor from 3 on that is not in `keep` (sorted ascending).
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut first: u32 = 3;
    for &fd in keep {
        let fd = fd.unsigned_abs();
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from `first` on to be closed by the next `execve`.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    close_range(first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// Lets the program of `command` inherit the standard streams only.
pub(crate) fn closes_inherited(command: &mut Command) {
    // SAFETY: the closure makes one system call and allocates nothing; descriptors are marked, not closed, so that what `Command` itself
    // holds between fork and exec stays open.
    unsafe { command.pre_exec(|| close_on_exec_from(3)) };
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: descriptors closed here belong to the parent's image of this forked process; their owners (`OwnedFd`)
    // are never dropped in the child, which ends in `execve` or `_exit`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// Makes `fd` be descriptor `target`, inherited by `execve`.
pub(crate) fn dup_to(fd: impl AsFd, target: RawFd) -> io::Result<()> {
    // SAFETY: `dup2` closes only `target`, one of 0, 1, 2, which no `OwnedFd` of this process owns.
    check(libc::c_long::from(unsafe {
        libc::dup2(fd.as_fd().as_raw_fd(), target)
    }))?;
    Ok(())
}

/// Makes `fds` be the descriptors from `first` on, inherited by `execve`, whatever those were before. Only for a process that ends in
/// `execve` or `exit_now`, where no owner of a replaced descriptor is dropped.
pub(crate) fn place(fds: &[BorrowedFd<'_>], first: RawFd) -> io::Result<()> {
    let end = first + i32::try_from(fds.len()).unwrap_or(i32::MAX);
    // First out of the way of the targets, else one could replace another that is still wanted.
    let moved: Vec<_> = fds
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, end))
        .collect::<Result<_, _>>()?;
    for (target, fd) in (first..end).zip(&moved) {
        // SAFETY: by the contract above nobody in this process uses the descriptor that `target` was.
        check(libc::c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), target) }))?;
    }
    Ok(())
}

/// Makes the terminal `fd` the controlling one of the session that the caller leads.
pub(crate) fn set_controlling_terminal(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer argument.
    check(libc::c_long::from(unsafe {
        libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0)
    }))?;
    Ok(())
}

/// Reaps the child `pid`, waiting for it. `None` when somebody else reaped it already.
pub(crate) fn reap(pid: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        let result = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if result == pid {
            return Some(status);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Sends a signal through a pidfd: any number, real-time ones too.
pub(crate) fn pidfd_send_signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null `siginfo` is allowed: the kernel fills it as for `kill`.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, no_info, 0) })?;
    Ok(())
}

/// Whether others of the calling process's user may trace it, read its memory, and own its files in `/proc`. `execve` and changes of
/// ids set it anew.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes an integer.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0)
    }))?;
    Ok(())
}
