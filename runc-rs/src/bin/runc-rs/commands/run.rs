//! `run`: create, start, and wait unless detached.

use std::os::fd::{AsFd, OwnedFd};

use runc_rs::Created;

use super::start_options::{self as start, create_options, warn};
use crate::Failure;
use crate::foreground::{self, Signals};
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;
use crate::notify::Notify;

pub(crate) const COMMAND: Command = Command {
    name: "run",
    usage: "create and run a container",
    arguments: start::ARGUMENTS,
    description: "Makes a container of a bundle and executes its program, the specification's process.args. Without --detach the container is
waited for and deleted, and its exit code is this command's.",
    flags: &[
        start::BUNDLE,
        start::CONSOLE_SOCKET,
        start::PIDFD_SOCKET,
        start::DETACH,
        Flag::switch("keep", "do not delete the container after it exits"),
        start::PID_FILE,
        Flag::switch("no-subreaper", "disable the use of the subreaper used to reap reparented processes"),
        start::NO_PIVOT,
        start::NO_NEW_KEYRING,
        start::PRESERVE_FDS,
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: true,
    run: |invocation| run(invocation).map_err(|failure| failure.within("runc run failed")),
};

fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    let (detach, keep) = (invocation.values.switch("detach"), invocation.values.switch("keep"));
    let options = create_options(invocation, detach)?;
    let signals = if detach { None } else { Some(Signals::block()?) };
    if !detach && !invocation.values.switch("no-subreaper") {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let created = runtime.create(id, options)?;
    warn(&created, invocation);
    invocation
        .log
        .debug(|| format!("container {id} is created: process {}", created.pid));
    let result = match signals {
        None => start_detached(invocation, &created).map(|()| 0),
        Some(signals) => {
            let pidfd = created.pidfd.as_ref().map(OwnedFd::try_clone).transpose()?;
            foreground::wait(&signals, created, || start_watched(invocation, pidfd))
        }
    };
    // A detached container goes on; everything else is over, one way or the other.
    if (result.is_err() || !detach) && !keep {
        let deleted = runtime.delete_with_warnings(id, true);
        if result.is_ok() {
            deleted?.iter().for_each(|warning| invocation.log.warn(warning));
        }
    }
    result
}

/// Starts the container, and waits for its readiness where somebody wants to know of it.
fn start_detached(invocation: &Invocation, created: &Created) -> Result<(), Failure> {
    let notify = Notify::bind(invocation)?;
    invocation.runtime().start(invocation.id()?)?;
    match (notify, &created.pidfd) {
        (Some(notify), Some(pidfd)) => notify.relay(pidfd.as_fd(), Some(created.pid)),
        _ => Ok(()),
    }
}

/// Starts the container; its readiness is told beside the waiting for its end.
fn start_watched(invocation: &Invocation, pidfd: Option<OwnedFd>) -> Result<(), Failure> {
    let notify = Notify::bind(invocation)?;
    invocation.runtime().start(invocation.id()?)?;
    if let (Some(notify), Some(pidfd)) = (notify, pidfd) {
        // This program is the service's, so the manager need not be told of another. A manager that is gone is no reason to end.
        std::thread::spawn(move || notify.relay(pidfd.as_fd(), None));
    }
    Ok(())
}
