//! `mounts`: crun's command for mounts of a running container.

use std::path::Path;

use oci_spec::runtime::Mount;

use crate::Failure;
use crate::grammar::{Command, Count};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "mounts",
    usage: "add or remove mounts of a running container",
    arguments: "[add|remove] <container-id> <file>

Where \"<container-id>\" is the name of the container and \"<file>\" has a JSON list of mounts
as a specification has it.

EXAMPLE:
To show the directory /data of the host in the container \"ubuntu01\":

       # echo '[{\"destination\": \"/mnt\", \"source\": \"/data\", \"options\": [\"bind\", \"ro\"]}]' > mounts.json
       # runc-rs mounts add ubuntu01 mounts.json",
    description: "",
    flags: &[],
    count: Count::Exactly(3),
    stops: false,
    enters: true,
    run: mounts,
};

fn mounts(invocation: &Invocation) -> Result<u8, Failure> {
    let (Some(action), Some(id), Some(file)) = (
        invocation.argument(0)?,
        invocation.argument(1)?,
        invocation.argument(2)?,
    ) else {
        return Err(Failure::new("container id cannot be empty"));
    };
    let path = Path::new(file);
    let text = std::fs::read(path).map_err(|error| Failure::on("open", path, error))?;
    let mounts: Vec<Mount> = serde_json::from_slice(&text).map_err(|error| Failure::json(path, &error))?;
    let runtime = invocation.runtime();
    match action {
        "add" => runtime.add_mounts(id, &mounts)?,
        "remove" => runtime.remove_mounts(id, &mounts)?,
        _ => return Err(Failure::new(format!("unknown command {action}"))),
    }
    Ok(0)
}
