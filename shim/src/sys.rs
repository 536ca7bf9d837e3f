//! The calls that need `unsafe`: what happens between fork and exec, inherited descriptors, wait statuses.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a child ended, as a shell would say it: its exit code, or 128 and the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    pub(crate) status: u32,
}

/// Takes the exit of one child (`pid`), or of any (-1), without waiting. `None`: none has ended.
///
/// libc's call rather than a wrapper, because wrappers refuse statuses with real-time signals after the kernel has forgotten the child.
pub(crate) fn reap(pid: i32) -> io::Result<Option<Ended>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the status; the call touches no other memory.
        let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if ended == 0 {
            return Ok(None);
        }
        if ended > 0 {
            let code = if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            };
            let status = u32::try_from(code).unwrap_or(255);
            return Ok(Some(Ended { pid: ended, status }));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends a signal; numbers that have no name are signals too.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes numbers only.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the child of `command` find `descriptors` as 3, 4, 5… . They must stay open until it was spawned.
pub(crate) fn inherit(command: &mut Command, descriptors: &[BorrowedFd<'_>]) {
    let sources: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let first_free = 3 + i32::try_from(sources.len()).unwrap_or(i32::MAX - 3);
    let place = move || {
        // Out of the way first, so that placing one does not overwrite another that is still needed.
        let mut moved = [-1; 8];
        for (slot, source) in moved.iter_mut().zip(&sources) {
            // SAFETY: plain system calls on descriptors that the caller keeps open; nothing is allocated after the fork.
            *slot = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, first_free) };
            if *slot < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (target, slot) in (3..).zip(&moved[..sources.len().min(8)]) {
            // SAFETY: as above; dup2 leaves the copy open across exec.
            if unsafe { libc::dup2(*slot, target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe system calls.
    unsafe { command.pre_exec(place) };
}

/// Makes the child of `command` lead a session of its own, and with `core_scheduling` share no core with processes outside it.
pub(crate) fn detach(command: &mut Command, core_scheduling: bool) {
    const PR_SCHED_CORE: libc::c_int = 62;
    const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
    const PIDTYPE_PGID: libc::c_ulong = 2;
    let detach = move || {
        // SAFETY: setsid touches no memory of ours.
        if unsafe { libc::setsid() } < 0 {
            return Err(io::Error::last_os_error());
        }
        if core_scheduling {
            let none: libc::c_ulong = 0;
            // SAFETY: this prctl takes numbers only.
            let made = unsafe { libc::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, none, PIDTYPE_PGID, none) };
            if made < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe system calls.
    unsafe { command.pre_exec(detach) };
}

/// Closes whatever else was inherited from `first` on: descriptors that an ancestor forgot to close must not live as long as a container.
/// To be called first thing, before anything is opened.
pub(crate) fn close_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor above the standard ones yet.
    if unsafe { libc::close_range(first, libc::c_uint::MAX, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes over an inherited descriptor; it will not be inherited further.
///
/// # Errors
/// When there is none of this number.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number that may or may not be open; it fails when it is not.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (just checked), and by the start protocol nobody else in this process owns it: called once per number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a descriptor into the reactor. It should not block.
pub(crate) fn reactor(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the reactor owns the descriptor from here on, and an OwnedFd is open, and the same file, for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|error| error.into_parts().1)
}

/// Keeps the allocator small: one arena for all threads, and memory given back early. For a process with one busy thread.
pub(crate) fn small_heap() {
    // SAFETY: mallopt only sets parameters of the allocator; called before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TOP_PAD, 16 * 1024);
    }
}

/// Gives free memory of the heap back to the system.
pub(crate) fn trim_heap() {
    // SAFETY: malloc_trim is thread-safe and frees only what the allocator holds unused.
    unsafe { libc::malloc_trim(0) };
}

/// Drops the pages of this program's code and constants from memory; they are read again from its file where they are needed.
pub(crate) fn drop_program() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, length) in program(&maps, drop_program as *const () as usize) {
        // SAFETY: private mappings of a file that were never written to (code; constants before any relocation) lose nothing by it: the kernel
        // reads the same bytes again. The file cannot change while it is executed.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}

/// The mapping of the code around an address, and the read-only one that ends where it begins: start and length. The one after it holds what the
/// loader has relocated, and must stay.
fn program(maps: &str, address: usize) -> Vec<(usize, usize)> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let mut fields = rest.split(' ');
        let (kind, offset) = (fields.next()?, fields.next()?);
        let is_constant = kind == "r--p" && offset.bytes().all(|digit| digit == b'0');
        Some((start, end, kind == "r-xp", is_constant))
    };
    let mappings: Vec<_> = maps.lines().filter_map(parse).collect();
    let Some(code) = mappings
        .iter()
        .find(|(start, end, code, _)| *code && (*start..*end).contains(&address))
    else {
        return Vec::new();
    };
    let constants = mappings
        .iter()
        .find(|(_, end, _, constant)| *constant && *end == code.0);
    [Some(code), constants]
        .into_iter()
        .flatten()
        .map(|(start, end, ..)| (*start, end - start))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_code_and_constants_and_not_what_was_relocated() {
        let maps = "1000-3000 r--p 00000000 00:1 9 /p\n3000-8000 r-xp 00002000 00:1 9 /p\n8000-9000 r--p 00007000 00:1 9 /p\n9000-a000 rw-p 00008000 00:1 9 /p\n";
        assert_eq!(program(maps, 0x4000), [(0x3000, 0x5000), (0x1000, 0x2000)]);
        assert_eq!(program(maps, 0x8000), []);
    }

    #[test]
    fn the_program_runs_on_without_its_pages() {
        drop_program();
        assert_eq!(format!("{:?}", [1, 2]), "[1, 2]");
    }
}
