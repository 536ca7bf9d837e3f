//! The fork, with the pid namespace that the child shall be born into.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::channel::{Channel, Message};
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
/// by way of a short-lived fork of libc's, which has one. By the same way goes who could not come back from another pid namespace.
pub(crate) fn fork_into(
    namespace: &PidNamespace,
    cgroup2: Option<BorrowedFd<'_>>,
    child: impl Fn(Birth) -> Infallible,
) -> Result<i32, Error> {
    let plain = || plain_fork(namespace, &child);
    let forked = match cgroup2 {
        Some(cgroup2) if is_single_threaded() => clone_into(cgroup2, namespace, &child).or_else(|_| plain()),
        Some(_) => match fork_by_helper(cgroup2, namespace, &child) {
            Ok(Some(pid)) => Ok(pid),
            Ok(None) => plain(),
            Err(error) => Err(error),
        },
        None => plain(),
    };
    match forked {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => fork_by_helper(None, namespace, &child)
            .and_then(|forked| forked.ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM))),
        forked => forked,
    }
    .map_err(|error| Error::system("fork", error))
}

impl PidNamespace {
    /// The flag for `clone3`.
    fn clone_flag(&self) -> i32 {
        if matches!(self, Self::New) {
            libc::CLONE_NEWPID
        } else {
            0
        }
    }
}

/// Whether this process has one thread only.
fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Runs `fork` with the calling thread's children going to another pid namespace meanwhile. Namespaces for children belong to the
/// thread, so this is sound in a program with several.
fn elsewhere(enter: impl FnOnce() -> io::Result<()>, fork: impl FnOnce() -> io::Result<i32>) -> io::Result<i32> {
    let path = c"/proc/thread-self/ns/pid";
    let back = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Root of a user namespace may leave for a pid namespace of his own, and not come back: asked before anything is done.
    sys::setns(&back, libc::CLONE_NEWPID)?;
    enter()?;
    let forked = fork();
    sys::setns(back, libc::CLONE_NEWPID)?;
    forked
}

fn plain_fork(namespace: &PidNamespace, child: &impl Fn(Birth) -> Infallible) -> io::Result<i32> {
    let fork = || {
        let forked = process::fork()?;
        if let Fork::Child = forked {
            child(Birth { in_cgroup2: false });
        }
        pid_of(forked)
    };
    match namespace {
        PidNamespace::Own => fork(),
        PidNamespace::New => elsewhere(|| sys::unshare(libc::CLONE_NEWPID), fork),
        PidNamespace::Join(fd) => elsewhere(|| sys::setns(fd, libc::CLONE_NEWPID), fork),
    }
}

fn clone_into(
    cgroup2: BorrowedFd<'_>,
    namespace: &PidNamespace,
    child: &impl Fn(Birth) -> Infallible,
) -> io::Result<i32> {
    let fork = || {
        let forked = process::fork_into_cgroup(Some(cgroup2), namespace.clone_flag(), false)?;
        if let Fork::Child = forked {
            child(Birth { in_cgroup2: true });
        }
        pid_of(forked)
    };
    match namespace {
        PidNamespace::Join(fd) => elsewhere(|| sys::setns(fd, libc::CLONE_NEWPID), fork),
        _ => fork(),
    }
}

/// Forks a helper, which makes the child as its sibling, says its number and ends; `None` when the kernel refuses. The helper itself
/// stays in the caller's pid namespace, so that the number is the caller's.
fn fork_by_helper(
    cgroup2: Option<BorrowedFd<'_>>,
    namespace: &PidNamespace,
    child: &impl Fn(Birth) -> Infallible,
) -> io::Result<Option<i32>> {
    let (ours, theirs) = Channel::pair()?;
    let forked = process::fork()?;
    if let Fork::Child = forked {
        let entered = match namespace {
            PidNamespace::Join(fd) => sys::setns(fd, libc::CLONE_NEWPID),
            _ => Ok(()),
        };
        match entered.and_then(|()| process::fork_into_cgroup(cgroup2, namespace.clone_flag(), true)) {
            Ok(Fork::Child) => {
                child(Birth {
                    in_cgroup2: cgroup2.is_some(),
                });
            }
            Ok(Fork::Parent(pid)) => {
                // A caller that does not hear it is gone.
                let _ = theirs.send(&Message::Successor(pid));
            }
            Err(error) => {
                let _ = theirs.send(&Message::Failed(error.to_string()));
            }
        }
        process::exit_now(0);
    }
    drop(theirs);
    let heard = ours.receive();
    process::reap(pid_of(forked)?);
    match heard? {
        Some(Message::Successor(pid)) => Ok(Some(pid)),
        Some(_) => Ok(None),
        // Killed before it could tell whether there is a child: a second one is not to be made.
        None => Err(io::Error::from_raw_os_error(libc::ECHILD)),
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
    let enter = |_: BorrowedFd<'_>| sys::unshare(libc::CLONE_NEWUSER);
    in_helper("user namespace of an id-mapped mount", None, enter, |pid| {
        crate::idmap::write(pid, uids, gids)?;
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path)
            .map(OwnedFd::from)
            .map_err(|error| Error::file("open", path, error))
    })
}

/// The mappings of a user namespace, as lines of `uid_map` and `gid_map` with single spaces.
pub(crate) fn mappings_of(namespace: BorrowedFd<'_>) -> Result<(String, String), Error> {
    let enter = |fd: BorrowedFd<'_>| sys::setns(fd, libc::CLONE_NEWUSER);
    in_helper("failed to cache mappings for userns", Some(namespace), enter, |pid| {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            let text = std::fs::read_to_string(&path).map_err(|error| Error::file("read", path, error))?;
            let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
            Ok(text.lines().map(line).collect())
        };
        Ok((read("uid_map")?, read("gid_map")?))
    })
}

/// Has a short-lived process `enter` a namespace (with `fd`, which stays open there), and looks at it from outside while it is there.
fn in_helper<T>(
    what: &str,
    fd: Option<BorrowedFd<'_>>,
    enter: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    look: impl FnOnce(i32) -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = |error: io::Error| Error::system(what, error);
    let (parent, child) = Channel::pair().map_err(failed)?;
    let pid = fork_into(&PidNamespace::Own, None, |_| {
        let mut keep = vec![child.as_fd().as_raw_fd()];
        keep.extend(fd.map(|fd| fd.as_raw_fd()));
        keep.sort_unstable();
        // Stays there until the parent has looked and kills us, or is gone. So its end must not be open here too.
        let _ = process::close_all_but(&keep)
            .and_then(|()| enter(fd.unwrap_or(child.as_fd())))
            .and_then(|()| child.send(&Message::Ready))
            .and_then(|()| child.receive());
        process::exit_now(1)
    })?;
    // Or the end of a helper that could not enter would not be heard.
    drop(child);
    let result = match parent.receive() {
        Ok(Some(Message::Ready)) => look(pid),
        _ => Err(failed(io::Error::from_raw_os_error(libc::EPERM))),
    };
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    process::reap(pid);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_cannot_enter_is_an_error_and_not_waited_for() {
        let refuse = |_: BorrowedFd<'_>| Err(io::Error::from_raw_os_error(libc::EPERM));
        let result = in_helper("x", None, refuse, |_| Ok(()));
        assert_eq!(result.unwrap_err().to_string(), "x: operation not permitted");
    }
}
