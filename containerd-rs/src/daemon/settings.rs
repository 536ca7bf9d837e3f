//! What the daemon can be told, from whatever side.

use std::path::PathBuf;
use std::time::Duration;

use containerd_rs::Config;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// Everything that file and command line say.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    pub(super) address: PathBuf,
    /// `None`: beside the gRPC socket.
    pub(super) ttrpc_address: Option<PathBuf>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) max_message: usize,
    pub(super) log_level: String,
    pub(super) log_format: LogFormat,
    pub(super) metrics_address: Option<String>,
    pub(super) gc_delay: Duration,
    pub(super) sched_core: bool,
    /// Searched for shims after the program's own directory.
    pub(super) opt_path: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            root: "/var/lib/containerd-rs".into(),
            state: "/run/containerd-rs".into(),
            address: "/run/containerd-rs/containerd.sock".into(),
            ttrpc_address: None,
            uid: None,
            gid: None,
            max_message: 16 << 20,
            log_level: "info".into(),
            log_format: LogFormat::Text,
            metrics_address: None,
            gc_delay: Duration::from_millis(100),
            sched_core: false,
            opt_path: None,
        }
    }
}

impl Settings {
    /// The engine's part of it.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(&self.root, &self.state, &self.address);
        if let Some(path) = &self.ttrpc_address {
            config.ttrpc_address.clone_from(path);
        }
        if self.uid.is_some() || self.gid.is_some() {
            config.socket_owner = Some((self.uid.unwrap_or(0), self.gid.unwrap_or(0)));
        }
        config.max_message = self.max_message;
        config.gc_delay = self.gc_delay;
        config.sched_core = self.sched_core;
        config.debug = matches!(self.log_level.as_str(), "debug" | "trace");
        config
            .shim_directories
            .extend(self.opt_path.iter().map(|path| path.join("bin")));
        config
    }

    /// The level for our own code, in our names; libraries speak only when something is wrong.
    pub(super) fn level_filter(&self) -> String {
        let level = match self.log_level.as_str() {
            "fatal" | "panic" => "error",
            other => other,
        };
        let libraries = if level == "error" { "error" } else { "warn" };
        format!(
            "{libraries},containerd_rs={level},containerd_rs_content={level},containerd_rs_snapshots={level},containerd_rs_metadata={level},shim={level}"
        )
    }
}
