//! What this runtime can do, as `runc features` tells it: only what is built.

use runtime_spec::features::{Enabled, Features, IntelRdt, MemoryPolicy};

use crate::plan::mount_options;
use crate::plan::scheduling::{MEMORY_FLAGS, MEMORY_MODES};

/// Annotations of a configuration that change what the runtime does with the host; one that ends with a dot stands for all that begin so.
const UNSAFE_ANNOTATIONS: [&str; 2] = [
    runc_rs_cgroups::systemd::annotations::PREFIX,
    crate::criu::CONFIG_ANNOTATION,
];

/// The features document.
pub fn features() -> Features {
    let mut features = Features::base();
    features.mount_options = mount_options::known();
    features.linux.cgroup.v1 = true;
    features.linux.cgroup.v2 = true;
    features.linux.cgroup.systemd = true;
    features.linux.cgroup.systemd_user = true;
    features.linux.cgroup.rdma = true;
    features.linux.apparmor = Enabled { enabled: true };
    features.linux.selinux = Enabled { enabled: true };
    features.linux.mount_extensions.idmap = Enabled { enabled: true };
    features.linux.intel_rdt = IntelRdt {
        enabled: true,
        schemata: Some(true),
        monitoring: Some(true),
    };
    features.linux.net_devices = Some(Enabled { enabled: true });
    features.linux.memory_policy = Some(MemoryPolicy {
        modes: MEMORY_MODES.iter().map(|mode| (*mode).to_owned()).collect(),
        flags: MEMORY_FLAGS.iter().map(|flag| (*flag).to_owned()).collect(),
    });
    crate::seccomp::describe(&mut features.linux.seccomp);
    for (name, value) in [
        ("io.github.runc-rs.version", env!("CARGO_PKG_VERSION")),
        // What clients of runc look for.
        ("org.opencontainers.runc.checkpoint.enabled", "true"),
    ] {
        features.annotations.insert(name.into(), value.into());
    }
    features.potentially_unsafe_config_annotations = UNSAFE_ANNOTATIONS.iter().map(|name| (*name).to_owned()).collect();
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::mount_options::MountOptions;

    #[test]
    fn every_option_told_is_known() {
        for option in features().mount_options {
            assert!(MountOptions::parse([option.as_str()]).data.is_empty(), "{option}");
        }
    }
}
