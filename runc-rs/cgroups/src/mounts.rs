//! What a container sees at its `/sys/fs/cgroup` (a mount of type `cgroup` in config.json), as plain data for the runtime to carry out.

use std::path::PathBuf;

use crate::cgroup::{Cgroup, UNIFIED};
use crate::host::{Host, Mode};

/// One step, in order. Targets are names relative to the mount's destination; "" is the destination itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Mount an empty tmpfs (mode 755, nosuid, nodev, noexec) at the destination. It is made read-only as the last step of all when
    /// the mount has the option `ro`.
    Tmpfs,
    /// Make a directory.
    Directory {
        /// Name of the directory.
        target: String,
    },
    /// Mount a v1 hierarchy anew (`mount -t cgroup`), so that the container's cgroup namespace gives it its root.
    Cgroup1 {
        /// Directory made before.
        target: String,
        /// The data of the mount: `cpu,cpuacct` or `none,name=systemd`.
        data: String,
    },
    /// Mount cgroup2 anew (`mount -t cgroup2`). Where that is refused (EPERM, EBUSY: a user namespace that does not own the
    /// cgroup namespace), bind `fallback` instead.
    Cgroup2 {
        /// "" or a directory made before.
        target: String,
        /// The container's own directory on the host.
        fallback: PathBuf,
    },
    /// Bind a directory of the host.
    Bind {
        /// The host's directory.
        source: PathBuf,
        /// Directory made before.
        target: String,
    },
    /// A symbolic link.
    Symlink {
        /// Name of the link.
        target: String,
        /// Where it leads, in the same directory.
        link: String,
    },
}

/// The steps for a container in `cgroup` on `host`. With a cgroup namespace the hierarchies are mounted anew and show the container's
/// cgroup as their root; without, v1 shows each container's own directory by a bind mount, and v2 the whole tree.
///
/// The flags of the mount in config.json (`nosuid`, `nodev`, `noexec`, `relatime`, `ro`) are for the caller to put on every mount made.
pub fn plan(host: &Host, cgroup: &Cgroup, cgroup_namespace: bool) -> Vec<Step> {
    if host.mode() == Mode::V2 {
        let fallback = cgroup.paths().get(UNIFIED).cloned().unwrap_or_default();
        return vec![Step::Cgroup2 {
            target: String::new(),
            fallback,
        }];
    }
    let mut steps = vec![Step::Tmpfs];
    let mut links = Vec::new();
    for hierarchy in &host.v1 {
        let Some(source) = hierarchy.controllers.first().and_then(|c| cgroup.paths().get(c)) else {
            continue;
        };
        let Some(name) = hierarchy
            .mountpoint
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
        else {
            continue;
        };
        steps.push(Step::Directory { target: name.clone() });
        steps.push(if cgroup_namespace {
            let joined = hierarchy.controllers.join(",");
            let data = if joined.starts_with("name=") {
                format!("none,{joined}")
            } else {
                joined
            };
            Step::Cgroup1 {
                target: name.clone(),
                data,
            }
        } else {
            Step::Bind {
                source: source.clone(),
                target: name.clone(),
            }
        });
        if hierarchy.controllers.len() > 1 {
            let others = hierarchy.controllers.iter().filter(|c| **c != name);
            links.extend(others.map(|c| Step::Symlink {
                target: c.clone(),
                link: name.clone(),
            }));
        }
    }
    steps.extend(links);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn host() -> Host {
        let mountinfo = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        Host::parse(mountinfo, "").unwrap()
    }

    #[test]
    fn v1_without_a_namespace_binds_the_own_directories() {
        let host = host();
        let cgroup = Cgroup::new(&host, Path::new("/c")).unwrap();
        let steps = plan(&host, &cgroup, false);
        assert_eq!(steps[0], Step::Tmpfs);
        let bind = Step::Bind {
            source: "/sys/fs/cgroup/cpu,cpuacct/c".into(),
            target: "cpu,cpuacct".into(),
        };
        assert!(steps.contains(&bind));
        assert_eq!(
            steps.last().unwrap(),
            &Step::Symlink {
                target: "cpuacct".into(),
                link: "cpu,cpuacct".into()
            }
        );
    }

    #[test]
    fn v1_with_a_namespace_mounts_anew() {
        let host = host();
        let cgroup = Cgroup::new(&host, Path::new("/c")).unwrap();
        let steps = plan(&host, &cgroup, true);
        assert!(steps.contains(&Step::Cgroup1 {
            target: "systemd".into(),
            data: "none,name=systemd".into()
        }));
        assert!(steps.contains(&Step::Cgroup1 {
            target: "cpu,cpuacct".into(),
            data: "cpu,cpuacct".into()
        }));
    }
}
