//! What this runtime can do, as `runc features` tells it: only what is built.

use runtime_spec::features::{Enabled, Features, IntelRdt, MemoryPolicy};

use crate::plan::scheduling::{MEMORY_FLAGS, MEMORY_MODES};

/// Mount options that are not handed to the filesystem as data.
const MOUNT_OPTIONS: [&str; 58] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
];

/// The features document.
pub fn features() -> Features {
    let mut features = Features::base();
    features.mount_options = MOUNT_OPTIONS
        .iter()
        .chain(&[
            "tmpcopyup",
            "unbindable",
            "copy-symlink",
            "src-nofollow",
            "dest-nofollow",
        ])
        .map(|o| (*o).to_owned())
        .collect();
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
    features
        .annotations
        .insert("io.github.runc-rs.version".into(), env!("CARGO_PKG_VERSION").into());
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
