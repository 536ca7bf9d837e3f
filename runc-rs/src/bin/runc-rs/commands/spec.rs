//! `spec`: a configuration to begin with.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "spec",
    usage: "create a new specification file",
    arguments: "[arguments...]",
    description:
        "Writes a specification file named \"config.json\" for the bundle. It is one to begin with: what it runs
is \"sh\" in the root filesystem \"rootfs\", so process.args mostly wants to be edited.

EXAMPLE:
To run a program \"/hello\" of a root filesystem:

    mkdir -p hello/rootfs && cd hello
    cp /path/to/hello rootfs/
    runc-rs spec
    sed -i 's;\"sh\";\"/hello\";' config.json
    runc-rs run container1

Containers are started by root, or by an ordinary user from a specification that --rootless made.",
    flags: &[
        Flag::text("bundle", "path to the root of the bundle directory").short("b"),
        Flag::switch("rootless", "generate a configuration for a rootless container"),
    ],
    count: Count::Exactly(0),
    stops: false,
    enters: false,
    run: spec,
};

fn spec(invocation: &Invocation) -> Result<u8, Failure> {
    let bundle = invocation.values.path("bundle").unwrap_or_else(|| PathBuf::from("."));
    std::fs::metadata(&bundle).map_err(|error| Failure::on("chdir", &bundle, error))?;
    let ids = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let options = runtime_spec::default::Options {
        rootless: invocation.values.switch("rootless").then(ids),
        cgroup2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
    };
    let text = runtime_spec::default::default_spec_json(options);
    let path = bundle.join("config.json");
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::new("File config.json exists. Remove it first"));
        }
        result => result.map_err(|error| Failure::on("open", &path, error))?,
    };
    file.write_all(text.as_bytes())
        .map_err(|error| Failure::on("write", &path, error))?;
    Ok(0)
}
