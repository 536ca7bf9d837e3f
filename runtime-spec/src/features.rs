//! What `runc features` prints (OCI runtime spec, features.md and features-linux.md), with runc's keys in runc's order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::caps;

/// The features document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// Lowest version of the spec.
    pub oci_version_min: String,
    /// Highest version of the spec.
    pub oci_version_max: String,
    /// Kinds of hooks.
    pub hooks: Vec<String>,
    /// Mount options that are not passed to the filesystem as data.
    pub mount_options: Vec<String>,
    /// Linux.
    pub linux: Linux,
    /// Free annotations (`org.opencontainers.runc.version`, ...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Annotations of a config that change what the runtime does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub potentially_unsafe_config_annotations: Vec<String>,
}

/// Features on Linux.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Namespaces by their names in a config, sorted.
    pub namespaces: Vec<String>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// Control groups.
    pub cgroup: Cgroup,
    /// Seccomp.
    pub seccomp: Seccomp,
    /// AppArmor.
    pub apparmor: Enabled,
    /// SELinux.
    pub selinux: Enabled,
    /// Intel RDT.
    pub intel_rdt: IntelRdt,
    /// Memory policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Mount extensions.
    pub mount_extensions: MountExtensions,
    /// Moving network devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_devices: Option<Enabled>,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled {
    /// Whether it is.
    pub enabled: bool,
}

/// Intel RDT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntelRdt {
    /// Whether there is any.
    pub enabled: bool,
    /// Whether `intelRdt.schemata` is known (runtime-spec 1.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemata: Option<bool>,
    /// Whether `intelRdt.enableMonitoring` is known (runtime-spec 1.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<bool>,
}

/// Control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    /// v1.
    pub v1: bool,
    /// v2.
    pub v2: bool,
    /// systemd.
    pub systemd: bool,
    /// The user's systemd.
    pub systemd_user: bool,
    /// The rdma controller.
    pub rdma: bool,
}

/// Seccomp.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// Whether there is any.
    pub enabled: bool,
    /// Actions.
    pub actions: Vec<String>,
    /// Operators.
    pub operators: Vec<String>,
    /// Architectures.
    pub archs: Vec<String>,
    /// Flags that are known.
    pub known_flags: Vec<String>,
    /// Flags that the kernel has too.
    pub supported_flags: Vec<String>,
}

/// Memory policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// Modes.
    pub modes: Vec<String>,
    /// Flags.
    pub flags: Vec<String>,
}

/// Mount extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountExtensions {
    /// Id-mapped mounts.
    pub idmap: Enabled,
}

/// The kinds of hooks there are.
pub const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

impl Features {
    /// The part that does not depend on the runtime's build: versions, hooks, namespaces, all capabilities. The runtime fills in what it can
    /// do of the rest.
    pub fn base() -> Self {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        Self {
            oci_version_min: crate::OCI_VERSION_MIN.to_owned(),
            oci_version_max: crate::OCI_VERSION_MAX.to_owned(),
            hooks: owned(&HOOKS),
            linux: Linux {
                namespaces: owned(&["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]),
                capabilities: owned(&caps::ALL),
                ..Linux::default()
            },
            ..Self::default()
        }
    }
}
