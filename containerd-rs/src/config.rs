//! What an engine needs to know to start.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directories, addresses and limits of one engine. Made with [`Config::new`], then changed field by field.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What outlives a reboot: blobs, snapshots, metadata.
    pub root: PathBuf,
    /// What does not: bundles of running tasks. Best on a tmpfs; its path is part of what shims know.
    pub state: PathBuf,
    /// The path of the gRPC socket. Shims are told of it, and make their own socket's name from it, also when nobody serves it.
    pub address: PathBuf,
    /// The path of the socket that shims send their events to; `ADDRESS.ttrpc` at first.
    pub ttrpc_address: PathBuf,
    /// User and group of the sockets; `None` leaves them to who runs the engine.
    pub socket_owner: Option<(u32, u32)>,
    /// Directories that are searched for shims, before those of `PATH`. At first: where the running program is.
    pub shim_directories: Vec<PathBuf>,
    /// The snapshotter for requests that name none.
    pub snapshotter: String,
    /// Whether shims are told to log in detail.
    pub debug: bool,
    /// The longest message that is taken or sent over gRPC, in bytes.
    pub max_message: usize,
    /// How long the collector waits after a deletion, so that one run serves several.
    pub gc_delay: Duration,
    /// Whether shims get a core-scheduling cookie (`SCHED_CORE`).
    pub sched_core: bool,
}

impl Config {
    /// A configuration with everything else as containerd has it.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>, address: impl Into<PathBuf>) -> Self {
        let address = address.into();
        let own = std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned));
        Config {
            root: root.into(),
            state: state.into(),
            ttrpc_address: with_suffix(&address, ".ttrpc"),
            address,
            socket_owner: None,
            shim_directories: own.into_iter().collect(),
            snapshotter: "overlayfs".to_owned(),
            debug: false,
            max_message: 16 << 20,
            gc_delay: Duration::from_millis(100),
            sched_core: false,
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
