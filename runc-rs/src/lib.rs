//! An OCI runtime: a library to embed, and a drop-in for runc.
//!
//! The decision that shapes the crate: a container is computed as a plan in plain data before anything is made, and a child
//! that was forked with that plan in its memory executes it. So nothing is serialized between parent and child, no second program is
//! executed, and a program with many threads may call [`Runtime::create`]: after the fork only the plan is carried out.
//! The container's process is a child of the caller, who reaps it; the library installs no signal handler and keeps no state
//! outside the state directory.
//!
//! The second decision: paths of a container are hostile. Every mount target, device and link is opened beneath the root's
//! descriptor and acted on by descriptor; what the kernel offers only by `/proc` goes through a procfs instance of our own.
//!
//! | module | what |
//! |---|---|
//! | [`Runtime`] | the operations |
//! | `plan` | `config.json` to data: mounts, namespaces, ids, capabilities |
//! | `create`, `exec`, `checks`, `cgroup`, `sources`, `netdevices`, `intel_rdt`, `spawn` | the parent's side: input judged, fork, cgroup, conversation with the child |
//! | `init` | the child's side: namespaces, root filesystem, privileges, program |
//! | `criu` | checkpoint and restore |
//! | `lifecycle` | start, state, kill, pause, update, delete |
//! | `live_mounts` | mounts of a running container |
//! | `store`, `record`, `inherited` | the state directory |
//! | [`rootless`], `idmap` | what an ordinary user can have, and the mappings of a user namespace |
//! | `inroot` | paths beneath a root |
//! | [`sealed`] | the program runs from a read-only copy of itself |
//! | `sys` | raw system calls: the only `unsafe` code |
#![deny(unsafe_op_in_unsafe_fn)]

mod cgroup;
mod channel;
mod checks;
mod create;
mod criu;
mod delete;
mod error;
mod exec;
mod features;
mod hooks;
mod idmap;
mod inherited;
mod init;
mod inroot;
mod intel_rdt;
mod lifecycle;
mod live_mounts;
mod netdevices;
mod options;
mod plan;
mod procinfo;
mod record;
pub mod rootless;
mod runtime;
pub mod sealed;
mod seccomp;
mod sockets;
mod sources;
mod spawn;
mod state;
mod store;
mod sys;
mod words;

use std::path::Path;

pub use criu::{CgroupsMode, CheckpointOptions, Migration, RestoreOptions};
pub use error::Error;
pub use features::features;
pub use options::{CgroupManager, CreateOptions, Created, ExecOptions, Io};
pub use runtime::Runtime;
pub use state::{Entry, State, Status};
pub use sys::process::stop_ignoring_children;

/// Reads the bundle's `config.json`.
///
/// # Errors
/// [`Error::NoConfig`], [`Error::File`] or [`Error::Json`], with the path and the field.
pub fn load_spec(bundle: &Path) -> Result<oci_spec::runtime::Spec, Error> {
    load_spec_with_warnings(bundle).map(|(spec, _)| spec)
}

/// As [`load_spec`], with what was left out of the configuration.
pub(crate) fn load_spec_with_warnings(bundle: &Path) -> Result<(oci_spec::runtime::Spec, Vec<String>), Error> {
    let path = bundle.join("config.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoConfig(path)),
        result => result.map_err(|error| Error::file("read", &path, error))?,
    };
    let loaded = runtime_spec::load::load_with_warnings(&text).map_err(|error| Error::Json {
        path,
        message: error.to_string(),
    })?;
    let unknown = loaded.unknown_capabilities;
    let warnings = if unknown.is_empty() {
        Vec::new()
    } else {
        vec![format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        )]
    };
    Ok((loaded.spec, warnings))
}
