//! The fork, with the pid namespace that the child shall be born into.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

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

/// Forks; the child runs `child` and never returns. The calling thread's own future children are born where they were before.
pub(crate) fn fork_into(namespace: &PidNamespace, child: impl FnOnce() -> Infallible) -> Result<i32, Error> {
    let failed = |action: &'static str| move |error: io::Error| Error::system(action, error);
    let back = match namespace {
        PidNamespace::Own => None,
        // Namespaces for children belong to the thread, so this is sound in a program with several.
        _ => Some(
            openat(
                CWD,
                c"/proc/thread-self/ns/pid",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|error| Error::file("open", "/proc/thread-self/ns/pid", error))?,
        ),
    };
    match namespace {
        PidNamespace::Own => {}
        PidNamespace::New => sys::unshare(libc::CLONE_NEWPID).map_err(failed("unshare of the pid namespace"))?,
        PidNamespace::Join(fd) => sys::setns(fd, libc::CLONE_NEWPID).map_err(failed("setns to the pid namespace"))?,
    }
    let forked = process::fork();
    if let Ok(Fork::Child) = forked {
        child();
    }
    if let Some(back) = back {
        sys::setns(back, libc::CLONE_NEWPID).map_err(failed("setns back to the own pid namespace"))?;
    }
    match forked.map_err(failed("fork"))? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => process::exit_now(1),
    }
}

/// A user namespace with these mappings, for a mount whose ids are mapped.
pub(crate) fn user_namespace(uids: &str, gids: &str) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| Error::system("user namespace of an id-mapped mount", error);
    let (parent, child) = crate::channel::Channel::pair().map_err(failed)?;
    let pid = fork_into(&PidNamespace::Own, || {
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
