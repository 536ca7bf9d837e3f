//! `delete`.

use runc_rs::Error;

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "delete",
    usage: "delete any resources held by the container often used with detached container",
    arguments: "<container-id>

Where \"<container-id>\" is the name of the container.

EXAMPLE:
To remove what is left of the stopped container \"ubuntu01\":

       # runc-rs delete ubuntu01",
    description: "",
    flags: &[Flag::switch(
        "force",
        "Forcibly deletes the container if it is still running (uses SIGKILL)",
    )
    .short("f")],
    count: Count::Exactly(1),
    stops: false,
    enters: false,
    run: delete,
};

/// A `poststop` hook that fails is to be warned of, and nothing more (runtime-spec, runtime.md "Lifecycle").
pub(crate) fn is_poststop(error: &Error) -> bool {
    matches!(error, Error::Hook { kind: "poststop", .. })
}

fn delete(invocation: &Invocation) -> Result<u8, Failure> {
    let force = invocation.values.switch("force");
    match invocation.runtime().delete(invocation.id()?, force) {
        Err(Error::NotFound(_)) if force => Ok(0),
        Err(error) if is_poststop(&error) => {
            invocation.log.warn(&error.to_string());
            Ok(0)
        }
        result => Ok(result.map(|()| 0)?),
    }
}
