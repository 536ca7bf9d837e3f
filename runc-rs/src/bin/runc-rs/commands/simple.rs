//! Commands that take an id and nothing else.

use crate::Failure;
use crate::grammar::{Command, Count};
use crate::invocation::Invocation;
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
    |invocation| {
        invocation.runtime().start(invocation.id()?)?;
        Ok(0)
    },
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
        invocation.warn_of_cgroups("pause")?;
        invocation.runtime().pause(invocation.id()?)?;
        Ok(0)
    },
);

pub(crate) const RESUME: Command = command(
    "resume",
    "resumes all processes that have been previously paused",
    "Thaws all processes of the container. The list command shows the status.",
    |invocation| {
        invocation.warn_of_cgroups("resume")?;
        invocation.runtime().resume(invocation.id()?)?;
        Ok(0)
    },
);
