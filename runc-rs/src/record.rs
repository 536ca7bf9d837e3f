//! What is kept of a container between two invocations of the runtime.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runc_rs_cgroups::systemd::Unit;
use serde::{Deserialize, Serialize};

use crate::inherited::Inherited;
use crate::intel_rdt::Groups;
use crate::plan::Hooks;
use crate::seccomp::Listener;
use crate::sys::credentials::CapabilityMasks;

/// The version of [`Record`]'s form on disk.
pub(crate) const VERSION: u32 = 1;

/// A container's record: `state.json` in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// [`VERSION`].
    pub(crate) version: u32,
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339.
    pub(crate) created: String,
    /// Who created it.
    pub(crate) owner: u32,
    /// 0 until the first process is set up.
    pub(crate) pid: i32,
    /// Start time of that process, in ticks after boot.
    pub(crate) start_time: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The cgroup's directories by controller.
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// The unit, where systemd made the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<Unit>,
    /// The cgroup was to be had or not: errors of entering it are forgiven.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rootless: bool,
    /// `CLONE_NEW*` flags of the namespaces that `exec` joins.
    pub(crate) namespaces: i32,
    /// Whether the pid namespace was made for this container: its end ends all processes.
    pub(crate) own_pid_namespace: bool,
    /// Whether it has a session keyring of its own.
    pub(crate) keyring: bool,
    /// Whether `seccomp.bpf` lies beside this file.
    pub(crate) seccomp: bool,
    /// Who answers that filter's notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp_listener: Option<Listener>,
    /// Capabilities of processes that do not name any.
    pub(crate) capabilities: Option<CapabilityMasks>,
    pub(crate) no_new_privileges: bool,
    /// SELinux's context for what is mounted later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mount_label: Option<String>,
    /// Its directories in resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intel_rdt: Option<Groups>,
    /// What processes of `exec` take over.
    #[serde(default)]
    pub(crate) inherited: Inherited,
    /// Only `startContainer`, `poststart` and `poststop` are kept: the others have run.
    pub(crate) hooks: Hooks,
}
