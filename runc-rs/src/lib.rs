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
//! # In a program
//!
//! A [`Runtime`] is a state directory. It makes a [`Container`] by a [builder](ContainerBuilder); the process comes as a [`Child`].
//!
//! ```
//! use runc_rs::{Runtime, Stdio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let rootfs = directory.path().join("rootfs");
//! # std::fs::create_dir_all(rootfs.join("bin"))?;
//! # std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
//! # let state = directory.path().join("state");
//! # let id = format!("doc-run-{}", std::process::id());
//! let runtime = Runtime::new(state);
//! let (container, child) = runtime
//!     .container(id)
//!     .rootfs(rootfs)
//!     .args(["/bin/busybox", "sh", "-c", "echo hello from $(hostname); exit 7"])
//!     .hostname("box")
//!     .stdin(Stdio::Null)
//!     .stdout(Stdio::Piped)
//!     .run()?;
//! let output = child.wait_with_output()?;
//! assert_eq!(output.stdout, b"hello from box\n");
//! assert_eq!(output.status.code(), Some(7));
//! container.delete()?;
//! # Ok(())
//! # }
//! ```
//!
//! `create` and `start` are apart, a second process joins, and both are children of this program:
//!
//! ```
//! # use runc_rs::{Runtime, Status, Stdio};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let rootfs = directory.path().join("rootfs");
//! # std::fs::create_dir_all(rootfs.join("bin"))?;
//! # std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
//! # let runtime = Runtime::new(directory.path().join("state"));
//! # let id = format!("doc-exec-{}", std::process::id());
//! let sleep = ["/bin/busybox", "sleep", "1000"];
//! let (container, mut init) = runtime.container(&id).rootfs(rootfs).args(sleep).create()?;
//! assert_eq!(container.status()?, Status::Created);
//! container.start()?;
//!
//! let exec = container.exec(["/bin/busybox", "tty"]).terminal(24, 80).start()?;
//! let mut terminal = exec.terminal.as_ref().map(|terminal| terminal.try_clone()).transpose()?.unwrap();
//! assert_eq!(std::io::read_to_string(&mut terminal)?, "/dev/pts/0\r\n");
//! assert!(exec.wait_with_output()?.status.success());
//!
//! // Whoever has the state directory has the container.
//! let same = Runtime::new(runtime.root()).open(&id)?;
//! assert_eq!(same.processes()?, [init.pid()]);
//! same.pause()?;
//! same.resume()?;
//! same.delete_by_force()?;
//! assert!(!init.wait()?.success());
//! # Ok(())
//! # }
//! ```
//!
//! What goes wrong is an [`Error`], which says on what:
//!
//! ```
//! # use runc_rs::{Error, Runtime};
//! let runtime = Runtime::new("/run/no-such-directory");
//! match runtime.open("web") {
//!     Err(error @ Error::NotFound(_)) => assert_eq!(error.container(), Some("web")),
//!     other => panic!("{other:?}"),
//! }
//! ```
//!
//! - **No state but the directory's.** Any number of [`Runtime`]s, with one root or several, in one program or many, work side by side; two
//!   callers at once on one container take turns, and the second is refused in clear words when it is too late.
//! - **Threads** may all make containers at once. A `create` or `exec` changes nothing of the calling thread that is still changed when it
//!   returns, and nothing of the process.
//! - **Children** are the caller's to reap, see [`Child`]. Dropping handles ends nothing.
//! - **Asynchronous programs** call `create`, `exec`, `start` and `delete` on a thread for blocking work: they take milliseconds, or as
//!   long as a hook. `wait` need not block: a [`Child`] is a descriptor for the event loop.
//! - **Programs with privileges** that enter containers should run from a sealed copy of themselves: [`sealed::ensure`].
//!
//! # Inside
//!
//! | module | what |
//! |---|---|
//! | [`Runtime`] | the operations |
//! | `embed` | builders and handles over them |
//! | `plan` | `config.json` to data: mounts, namespaces, ids, capabilities |
//! | `create`, `exec`, `checks`, `cgroup`, `sources`, `netdevices`, `intel_rdt`, `spawn` | the parent's side: input judged, fork, cgroup, conversation with the child |
//! | `init` | the child's side: namespaces, root filesystem, privileges, program |
//! | `criu` | checkpoint and restore |
//! | `lifecycle`, `delete` | start, state, kill, pause, update; the end |
//! | `live_mounts` | mounts of a running container |
//! | [`notify`] | readiness messages |
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
mod embed;
mod error;
mod exec;
mod features;
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod idmap;
mod inherited;
mod init;
mod inroot;
mod intel_rdt;
mod lifecycle;
mod live_mounts;
mod netdevices;
pub mod notify;
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
pub use embed::{Child, Container, ContainerBuilder, Event, Events, ExecBuilder, Stdio, Terminal};
pub use error::Error;
pub use features::features;
pub use options::{CgroupManager, CreateOptions, Created, ExecOptions, Io};
pub use runc_rs_cgroups as cgroups;
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

/// As [`load_spec`], with what was left out of the configuration, in words for the user.
///
/// # Errors
/// As [`load_spec`].
pub fn load_spec_with_warnings(bundle: &Path) -> Result<(oci_spec::runtime::Spec, Vec<String>), Error> {
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
