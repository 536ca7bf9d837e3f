//! Commands that take an id and nothing else.

use std::os::fd::AsFd;

use runc_rs::Error;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Failure;
use crate::grammar::{Command, Count};
use crate::invocation::Invocation;
use crate::notify::Notify;
use crate::output::print;

const ARGUMENTS: &str = "<container-id>

Where \"<container-id>\" is the name of the container.";

const fn command(
    name: &'static str,
    usage: &'static str,
    description: &'static str,
    run: fn(&Invocation) -> Result<u8, Failure>,
) -> Command {
    Command {
        name,
        usage,
        arguments: ARGUMENTS,
        description,
        flags: &[],
        count: Count::Exactly(1),
        stops: false,
        enters: false,
        run,
    }
}

pub(crate) const START: Command = command(
    "start",
    "executes the user defined process in a created container",
    "Lets the program of a created container run.",
    start,
);

pub(crate) const STATE: Command = command(
    "state",
    "output the state of a container",
    "Prints the container's state as JSON: the fields of the runtime specification, and rootfs, created and owner.",
    |invocation| {
        let state = invocation.runtime().state(invocation.id()?)?;
        print(&serde_json::to_string_pretty(&state)?)?;
        Ok(0)
    },
);

pub(crate) const PAUSE: Command = command(
    "pause",
    "pause suspends all processes inside the container",
    "Freezes all processes of the container. The list command shows the status.",
    |invocation| {
        invocation.warn_of_cgroups("runc pause")?;
        invocation.runtime().pause(invocation.id()?)?;
        Ok(0)
    },
);

pub(crate) const RESUME: Command = command(
    "resume",
    "resumes all processes that have been previously paused",
    "Thaws all processes of the container. The list command shows the status.",
    |invocation| {
        invocation.warn_of_cgroups("runc resume")?;
        invocation.runtime().resume(invocation.id()?)?;
        Ok(0)
    },
);

/// Starts the container, and waits for its readiness where somebody wants to know of it.
fn start(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    let Some(notify) = Notify::bind(invocation)? else {
        runtime.start(id)?;
        return Ok(0);
    };
    let pid = runtime.state(id)?.pid;
    let process = Pid::from_raw(pid).ok_or_else(|| Error::NotRunning(id.to_owned()))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty())?;
    runtime.start(id)?;
    notify.relay(pidfd.as_fd(), Some(pid))?;
    Ok(0)
}
