//! State of a container: the OCI's own JSON for hooks, and what `runc state` and `runc list` print.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// Where a container stands (OCI runtime spec, runtime.md "State"; `paused` is runc's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its process waits to be started.
    Created,
    /// Its process runs.
    Running,
    /// Frozen.
    Paused,
    /// Its process is gone.
    Stopped,
}

impl Status {
    /// The word in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state that hooks get on their stdin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the spec.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// Its process, as the host numbers it; left out when there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Annotations of the config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

/// What `runc state` prints, and `runc list --format json` for each container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeState {
    /// Version of the spec.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its process; 0 when it is stopped.
    pub pid: i32,
    /// Where it stands.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of its root filesystem.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Annotations of the config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user who owns its state directory.
    pub owner: String,
}

/// What is sent with a seccomp notify descriptor (OCI runtime spec, config-linux.md "The Container Process State").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// Version of the spec.
    pub oci_version: String,
    /// The names of the descriptors sent, in order: `seccompFd`.
    pub fds: Vec<String>,
    /// The process that the filter is of.
    pub pid: i32,
    /// `listenerMetadata` of the config.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container's state.
    pub state: State,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_runc_key_order() {
        let state = RuntimeState {
            oci_version: "1.2.0".into(),
            id: "c".into(),
            pid: 7,
            status: Status::Running,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: Timestamp::from_unix(0, 5).unwrap(),
            annotations: BTreeMap::new(),
            owner: String::new(),
        };
        let json = serde_json::to_string(&state).unwrap();
        let expected = r#"{"ociVersion":"1.2.0","id":"c","pid":7,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"1970-01-01T00:00:00.000000005Z","owner":""}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<RuntimeState>(&json).unwrap(), state);
    }

    #[test]
    fn a_hook_sees_no_pid_when_there_is_none() {
        let json = r#"{"ociVersion":"1.2.0","id":"c","status":"stopped","bundle":"/b"}"#;
        let state: State = serde_json::from_str(json).unwrap();
        assert_eq!(state.pid, 0);
        assert_eq!(serde_json::to_string(&state).unwrap(), json);
    }
}
