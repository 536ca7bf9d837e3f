//! The seam to OCI runtimes, and its two implementations.
//!
//! The calls block and may fork; the shim makes them on a thread of their own. What they create are children of the shim (directly or as
//! orphans it inherits), which it reaps.

mod binary;
mod console;
mod linked;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use containerd_proto::containerd::runc::v1::Options;

pub use binary::BinaryRuntime;
pub use linked::LinkedRuntime;

use crate::bundle;

/// The standard streams of a process to be made.
#[derive(Debug)]
pub enum RuntimeIo {
    /// These descriptors.
    Fds {
        /// Becomes descriptor 0.
        stdin: OwnedFd,
        /// Becomes descriptor 1.
        stdout: OwnedFd,
        /// Becomes descriptor 2.
        stderr: OwnedFd,
    },
    /// A new pseudo terminal, whose master comes back in [`Spawned::console`].
    Terminal,
}

/// A process that was made.
#[derive(Debug)]
pub struct Spawned {
    /// Its id in the shim's pid namespace.
    pub pid: i32,
    /// The master of its terminal.
    pub console: Option<OwnedFd>,
}

/// What a runtime says when it fails, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuntimeError(pub String);

impl RuntimeError {
    /// Whether it says that there is no such container: in runc's words, or in crun's, which miss its status file.
    pub fn is_unknown_container(&self) -> bool {
        self.0.contains("does not exist")
            || (self.0.contains("/status`") && self.0.contains("No such file or directory"))
    }
}

/// Short for what runtimes answer.
pub type RuntimeResult<T> = Result<T, RuntimeError>;

/// An OCI runtime over one state directory.
pub trait OciRuntime: fmt::Debug + Send + Sync {
    /// Creates a container from a bundle, up to the point where its program would run.
    ///
    /// # Errors
    /// The runtime's; nothing is left behind.
    fn create(&self, id: &str, bundle: &Path, io: RuntimeIo) -> RuntimeResult<Spawned>;

    /// Lets the program run.
    ///
    /// # Errors
    /// The runtime's.
    fn start(&self, id: &str) -> RuntimeResult<()>;

    /// Runs a further process (an OCI `process` object as JSON) in the container.
    ///
    /// # Errors
    /// The runtime's.
    fn exec(&self, id: &str, exec_id: &str, process: &[u8], io: RuntimeIo) -> RuntimeResult<Spawned>;

    /// Sends a signal to the first process, or to all.
    ///
    /// # Errors
    /// The runtime's.
    fn kill(&self, id: &str, signal: u32, all: bool) -> RuntimeResult<()>;

    /// Removes the container; with `force` a running one too.
    ///
    /// # Errors
    /// The runtime's.
    fn delete(&self, id: &str, force: bool) -> RuntimeResult<()>;

    /// The processes of the container.
    ///
    /// # Errors
    /// The runtime's.
    fn pids(&self, id: &str) -> RuntimeResult<Vec<i32>>;

    /// Freezes the container.
    ///
    /// # Errors
    /// The runtime's.
    fn pause(&self, id: &str) -> RuntimeResult<()>;

    /// Thaws the container.
    ///
    /// # Errors
    /// The runtime's.
    fn resume(&self, id: &str) -> RuntimeResult<()>;

    /// Changes limits: an OCI `linux.resources` object as JSON.
    ///
    /// # Errors
    /// The runtime's.
    fn update(&self, id: &str, resources: &[u8]) -> RuntimeResult<()>;

    /// What the runtime can do: an OCI `features` object as JSON.
    ///
    /// # Errors
    /// The runtime's; old ones have no such command.
    fn features(&self) -> RuntimeResult<Vec<u8>>;
}

/// The runtime that the options ask for: runc-rs in this process unless they name another program.
pub fn select(options: &Options, namespace: &str, bundle: &Path) -> Arc<dyn OciRuntime> {
    let root = bundle::runtime_root(options, namespace);
    let name = Path::new(&options.binary_name).file_name().unwrap_or_default();
    if name.is_empty() || name == "runc-rs" {
        Arc::new(LinkedRuntime::new(root, options))
    } else {
        Arc::new(BinaryRuntime::new(root, bundle, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        let shown = |name: &str| {
            let options = Options {
                binary_name: name.into(),
                root: "/r".into(),
                ..Options::default()
            };
            format!("{:?}", select(&options, "ns", Path::new("/b")))
        };
        assert!(shown("").starts_with("LinkedRuntime"));
        assert!(shown("/usr/sbin/runc-rs").starts_with("LinkedRuntime"));
        assert!(shown("crun").starts_with("BinaryRuntime") && shown("crun").contains("/r/ns"));
    }
}
