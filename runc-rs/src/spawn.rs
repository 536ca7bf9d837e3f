//! The fork, with the pid namespace that the child shall be born into.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::sys::mounts as sys;
use crate::sys::process::{self, Fork};

/// Which pid namespace a child is born into.
#[derive(Debug)]
pub(crate) enum PidNamespace {
    /// The caller's.
    Own,
    /// A new one, as its first process.
    New,
    /// That of this namespace file or pidfd.
    Join(OwnedFd),
}

/// How a child was born.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Birth {
    /// It was put into the cgroup2 directory by its creation.
    pub(crate) in_cgroup2: bool,
}

/// Forks; the child runs `child` and never returns. The calling thread's own future children are born where they were before.
///
/// A child that is born into its cgroup2 directory spares the kernel the machine-wide lock and the grace period (some 15 ms) that a
/// move by `cgroup.procs` costs. That takes `clone3`, past libc: safe at once in a program with one thread; in one with more,
/// by way of a short-lived fork of libc's, which has one.
pub(crate) fn fork_into(
    namespace: &PidNamespace,
    cgroup2: Option<BorrowedFd<'_>>,
    child: impl Fn(Birth) -> Infallible,
) -> Result<i32, Error> {
    let back = match namespace {
        PidNamespace::Join(fd) => Some(pid_namespace_for_children(|| sys::setns(fd, libc::CLONE_NEWPID))?),
        _ => None,
    };
    let new = if matches!(namespace, PidNamespace::New) {
        libc::CLONE_NEWPID
    } else {
        0
    };
    let born = match cgroup2 {
        Some(cgroup2) if is_single_threaded() => clone_into(cgroup2, new, &child).or_else(|_| plain_fork(new, &child)),
        Some(cgroup2) => fork_by_helper(cgroup2, new, &child).or_else(|_| plain_fork(new, &child)),
        None => plain_fork(new, &child),
    };
    if let Some(back) = back {
        restore(&back)?;
    }
    born.map_err(|error| Error::system("fork", error))
}

/// Whether this process has one thread only.
fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Opens the way back and changes the namespace that the calling thread's children are born into. Namespaces for children belong to
/// the thread, so this is sound in a program with several.
fn pid_namespace_for_children(change: impl FnOnce() -> io::Result<()>) -> Result<OwnedFd, Error> {
    let path = c"/proc/thread-self/ns/pid";
    let back = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::file("open", "/proc/thread-self/ns/pid", error))?;
    change().map_err(|error| Error::system("change of the pid namespace", error))?;
    Ok(back)
}

fn restore(back: &OwnedFd) -> Result<(), Error> {
    sys::setns(back, libc::CLONE_NEWPID).map_err(|error| Error::system("setns back to the own pid namespace", error))
}

fn plain_fork(new: i32, child: &impl Fn(Birth) -> Infallible) -> io::Result<i32> {
    let change = || sys::unshare(new);
    let back = if new == 0 {
        None
    } else {
        Some(pid_namespace_for_children(change).map_err(io::Error::other)?)
    };
    let forked = process::fork();
    if let Ok(Fork::Child) = forked {
        child(Birth { in_cgroup2: false });
    }
    if let Some(back) = back {
        restore(&back).map_err(io::Error::other)?;
    }
    pid_of(forked?)
}

fn clone_into(cgroup2: BorrowedFd<'_>, new: i32, child: &impl Fn(Birth) -> Infallible) -> io::Result<i32> {
    let forked = process::fork_into_cgroup(cgroup2, new, false)?;
    if let Fork::Child = forked {
        child(Birth { in_cgroup2: true });
    }
    pid_of(forked)
}

/// Forks a helper, which makes the child as its sibling, says its number and ends.
fn fork_by_helper(cgroup2: BorrowedFd<'_>, new: i32, child: &impl Fn(Birth) -> Infallible) -> io::Result<i32> {
    let (ours, theirs) = crate::channel::Channel::pair()?;
    let forked = process::fork()?;
    if let Fork::Child = forked {
        match process::fork_into_cgroup(cgroup2, new, true) {
            Ok(Fork::Child) => {
                child(Birth { in_cgroup2: true });
            }
            Ok(Fork::Parent(pid)) => {
                // A caller that does not hear it fails, and kills nobody but us.
                let _ = theirs.send(&crate::channel::Message::Successor(pid));
            }
            Err(_) => {}
        }
        process::exit_now(0);
    }
    drop(theirs);
    let heard = ours.receive();
    process::reap(pid_of(forked)?);
    match heard? {
        Some(crate::channel::Message::Successor(pid)) => Ok(pid),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTSUP)),
    }
}

fn pid_of(forked: Fork) -> io::Result<i32> {
    match forked {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => process::exit_now(1),
    }
}

/// A user namespace with these mappings, for a mount whose ids are mapped.
pub(crate) fn user_namespace(uids: &str, gids: &str) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| Error::system("user namespace of an id-mapped mount", error);
    let (parent, child) = crate::channel::Channel::pair().map_err(failed)?;
    let pid = fork_into(&PidNamespace::Own, None, |_| {
        let made = sys::unshare(libc::CLONE_NEWUSER).and_then(|()| child.send(&crate::channel::Message::Ready));
        if made.is_ok() {
            // Holds the namespace until the parent has it open, and closes its end.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            loop {
                std::thread::park();
            }
        }
        process::exit_now(1)
    })?;
    let result = match parent.receive() {
        Ok(Some(crate::channel::Message::Ready)) => write_maps(pid, uids, gids).and_then(|()| {
            let path = format!("/proc/{pid}/ns/user");
            File::open(&path)
                .map(OwnedFd::from)
                .map_err(|error| Error::file("open", path, error))
        }),
        _ => Err(failed(io::Error::from_raw_os_error(libc::EPERM))),
    };
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    process::reap(pid);
    result
}

/// Writes the mappings of a user namespace that process `pid` has just made. Each map is one write, as the kernel demands.
pub(crate) fn write_maps(pid: i32, uids: &str, gids: &str) -> Result<(), Error> {
    for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, map).map_err(|error| Error::file("write", path, error))?;
    }
    Ok(())
}
