//! What `state` and `list` answer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a container stands in its life (runtime-spec, "State"; `paused` is runc's addition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` has not finished, or was cut off.
    Creating,
    /// The environment stands, the user's program waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// The container's processes are frozen.
    Paused,
    /// The first process has ended (a zombie counts as ended).
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// State of a container: the specification's fields and runc's `rootfs`, `created` and `owner`, in runc's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification that the container was created by.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Process id of the first process in the caller's pid namespace; 0 when it has ended.
    pub pid: i32,
    /// Where the container stands.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it.
    pub owner: String,
}

/// One container of a state directory: its id, and its state or why that cannot be told.
#[derive(Debug)]
pub struct Entry {
    /// The container's id: the name of its directory.
    pub id: String,
    /// What its record and the kernel say.
    pub state: Result<State, crate::Error>,
}
