//! `list`.

use std::io::Write;

use runc_rs::{Entry, State};

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;
use crate::output::{json_line, print, table};

pub(crate) const COMMAND: Command = Command {
    name: "list",
    usage: "lists containers started by runc with the given root",
    arguments: "

Where the given root is specified via the global option \"--root\"
(default: \"/run/runc-rs\").

EXAMPLE 1:
To list containers created via the default \"--root\":
       # runc-rs list

EXAMPLE 2:
To list containers created using a non-default value for \"--root\":
       # runc-rs --root value list",
    description: "",
    flags: &[
        Flag::text("format", "select one of: table or json")
            .short("f")
            .default("\"table\""),
        Flag::switch("quiet", "display only container IDs").short("q"),
    ],
    count: Count::Exactly(0),
    stops: false,
    enters: false,
    run: list,
};

fn list(invocation: &Invocation) -> Result<u8, Failure> {
    let states = states(invocation)?;
    if invocation.values.switch("quiet") {
        print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>())?;
        return Ok(0);
    }
    match invocation.values.text("format")?.unwrap_or("table") {
        // runc prints null for an empty list, and so do its callers expect.
        "json" if states.is_empty() => print("null\n")?,
        "json" => json_line(&states)?,
        "table" => print(&table(&rows(&states)))?,
        _ => return Err(Failure::new("invalid format option")),
    }
    Ok(0)
}

/// The containers that can be read; of the others it is said why not, and the list goes on.
fn states(invocation: &Invocation) -> Result<Vec<State>, Failure> {
    let mut states = Vec::new();
    for Entry { id, state } in invocation.runtime().entries()? {
        match state {
            Ok(state) => states.push(state),
            Err(error) => {
                let line = format!("load container {id}: {error}\n");
                // With a closed standard error there is nobody to tell.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        }
    }
    Ok(states)
}

fn rows(states: &[State]) -> Vec<[String; 6]> {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    };
    std::iter::once(head).chain(states.iter().map(row)).collect()
}
