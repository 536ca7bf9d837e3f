//! `create`.

use super::start_options::{self as start, create_options, warn};
use crate::Failure;
use crate::grammar::{Command, Count};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "create",
    usage: "create a container",
    arguments: start::ARGUMENTS,
    description: "Makes a container of a bundle, up to the point where its program would be executed; the start command goes on from there.
The program is the specification's process.args. \"runc-rs spec\" writes a specification to begin with.",
    flags: &[
        start::BUNDLE,
        start::CONSOLE_SOCKET,
        start::PIDFD_SOCKET,
        start::PID_FILE,
        start::NO_PIVOT,
        start::NO_NEW_KEYRING,
        start::PRESERVE_FDS,
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: true,
    run: |invocation| create(invocation).map_err(|failure| failure.within("runc create failed")),
};

fn create(invocation: &Invocation) -> Result<u8, Failure> {
    let id = invocation.id()?;
    let options = create_options(invocation, true)?;
    let created = invocation.runtime().create(id, options)?;
    warn(&created, invocation);
    invocation
        .log
        .debug(|| format!("container {id} is created: process {}", created.pid));
    Ok(0)
}
