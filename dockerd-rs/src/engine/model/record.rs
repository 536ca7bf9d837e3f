//! The record of a container: everything about it that outlives the daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dockerd_rs_network::Endpoint;
use serde::{Deserialize, Serialize};

use super::{ContainerConfig, EndpointSettings, HostConfig};

/// Version of the record's format on disk.
pub(crate) const VERSION: u32 = 1;
/// Go's zero time, which the API shows for "never".
pub(crate) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A container, as kept on disk and shown to readers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    /// Without the slash.
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    /// `sha256:...`.
    pub(crate) image_id: String,
    pub(crate) platform: String,
    pub(crate) config: ContainerConfig,
    pub(crate) host_config: HostConfig,
    /// What the client wanted of networks, by the network's name.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// Mount points, in the order they are mounted.
    pub(crate) mounts: Vec<MountPoint>,
    /// Endpoints while it runs.
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) log: LogFrom,
    pub(crate) state: RunState,
    #[serde(default)]
    pub(crate) restart_count: u32,
    /// Stopped by a client, so the restart policy rests.
    #[serde(default)]
    pub(crate) stopped_by_user: bool,
    /// Create went through to its end; without it the container is a leftover of a daemon that was killed half-way.
    #[serde(default)]
    pub(crate) complete: bool,
    /// Has been started before: its layer may have changed.
    #[serde(default)]
    pub(crate) started_once: bool,
}

/// Where the log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LogFrom {
    /// There is none.
    Nobody,
    /// The shim writes it.
    Shim,
    /// The daemon writes it.
    Daemon,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    /// The API's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// The state of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub(crate) status: Status,
    pub(crate) pid: u32,
    pub(crate) exit_code: i64,
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// RFC 3339.
    pub(crate) finished_at: String,
}

impl Default for RunState {
    fn default() -> Self {
        Self {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: ZERO_TIME.to_owned(),
            finished_at: ZERO_TIME.to_owned(),
        }
    }
}

impl RunState {
    /// Whether there is a process.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }
}

/// A mount of a container, as inspect shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// Of a volume.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) destination: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) driver: String,
    pub(crate) mode: String,
    #[serde(rename = "RW")]
    pub(crate) rw: bool,
    pub(crate) propagation: String,
    /// Options of a tmpfs; not shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) options: Vec<String>,
    /// An anonymous volume goes with the container; not shown.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) anonymous: bool,
    /// Whether a missing source is made (`-v`).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) make_source: bool,
    /// Whether the image's content is copied into an empty volume.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) copy_up: bool,
    /// Directory of the volume that is mounted; empty for all of it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) subpath: String,
    /// Without the mounts beneath it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) non_recursive: bool,
}
