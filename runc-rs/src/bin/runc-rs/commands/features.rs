//! `features`.

use serde::Serialize;

use crate::Failure;
use crate::grammar::{Command, Count};
use crate::invocation::Invocation;
use crate::output::print;

pub(crate) const COMMAND: Command = Command {
    name: "features",
    usage: "show the enabled features",
    arguments: "",
    description: "Prints what this program can do, as JSON: features.md of the runtime specification has the fields.",
    flags: &[],
    count: Count::Exactly(0),
    stops: false,
    enters: false,
    run: features,
};

fn features(_: &Invocation) -> Result<u8, Failure> {
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    runc_rs::features().serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout))?;
    text.push(b'\n');
    print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}
