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

fn delete(invocation: &Invocation) -> Result<u8, Failure> {
    let force = invocation.values.switch("force");
    match invocation.runtime().delete_with_warnings(invocation.id()?, force) {
        Err(Error::NotFound(_)) if force => {}
        result => result?.iter().for_each(|warning| invocation.log.warn(warning)),
    }
    Ok(0)
}
