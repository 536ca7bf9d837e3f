//! `kill`.

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;
use crate::signals;

pub(crate) const COMMAND: Command = Command {
    name: "kill",
    usage: "kill sends the specified signal (default: SIGTERM) to the container's init process",
    arguments: "<container-id> [signal]

Where \"<container-id>\" is the name of the container and \"[signal]\" is a signal's name or number.

EXAMPLE:
To end the init process of the container \"ubuntu01\":

       # runc-rs kill ubuntu01 KILL",
    description: "",
    flags: &[Flag::switch("all", "(obsoleted; do not use)").short("a").hidden()],
    count: Count::Between(1, 2),
    stops: false,
    enters: false,
    run: kill,
};

fn kill(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    // The container first: a caller asks about it, not about the signal.
    runtime.state(id)?;
    let name = invocation
        .argument(1)?
        .filter(|name| !name.is_empty())
        .unwrap_or("SIGTERM");
    let signal = signals::parse(name).ok_or_else(|| Failure::new(format!("unknown signal {name:?}")))?;
    runtime.kill(id, signal, invocation.values.switch("all"))?;
    Ok(0)
}
