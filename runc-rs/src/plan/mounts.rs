//! The mounts of a container as plain data.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::mount_options::MountOptions;
use super::namespaces::Namespaces;
use crate::Error;
use crate::sys::mounts::ATTR_RDONLY;

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A file or directory of the host. Relative sources were joined to the bundle.
    Bind { source: PathBuf, recursive: bool },
    /// A new instance of a filesystem.
    Filesystem { fstype: String, source: String },
    /// The container's view of the control groups.
    Cgroup,
    /// New attributes for what is mounted at the destination already.
    Remount,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// Absolute path in the container, without `.` and `..`.
    pub(crate) destination: PathBuf,
    pub(crate) kind: MountKind,
    pub(crate) options: MountOptions,
    /// Id mappings of the mount itself: lines for `uid_map` and `gid_map`, made of `uidMappings` and `gidMappings`.
    pub(crate) id_maps: Option<(String, String)>,
}

impl MountPlan {
    /// Read-only takes effect after everything beneath the mount has been made.
    pub(crate) fn read_only_at_the_end(&self) -> bool {
        matches!(&self.kind, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs")
            && self.options.attr.set & ATTR_RDONLY != 0
    }
}

/// Sorts one mount of the configuration. `index` is its place, for errors.
pub(crate) fn plan_mount(mount: &Mount, index: usize, bundle: &Path) -> Result<MountPlan, Error> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let destination = clean(mount.destination());
    if destination == Path::new("/") {
        return Err(Error::config(field("destination"), "a mount cannot cover the root"));
    }
    if mount.destination().as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::config(field("destination"), "contains a NUL byte"));
    }
    let options = MountOptions::parse(mount.options().iter().flatten().map(String::as_str));
    let fstype = mount.typ().as_deref().unwrap_or("");
    let source = mount.source().clone().unwrap_or_default();
    let kind = if options.remount {
        MountKind::Remount
    } else if options.bind.is_some() || fstype == "bind" {
        if source.as_os_str().is_empty() {
            return Err(Error::config(field("source"), "a bind mount needs one"));
        }
        MountKind::Bind {
            source: bundle.join(source),
            recursive: options.bind == Some(true),
        }
    } else if fstype == "cgroup" || fstype == "cgroup2" {
        MountKind::Cgroup
    } else if fstype.is_empty() || fstype == "none" {
        return Err(Error::config(
            field("type"),
            "must be set for a mount that is no bind mount",
        ));
    } else {
        let source = source.to_string_lossy().into_owned();
        MountKind::Filesystem {
            fstype: fstype.to_owned(),
            source,
        }
    };
    let id_maps = match (mount.uid_mappings(), mount.gid_mappings()) {
        (None, None) => None,
        (uids, gids) => Some((super::ids::lines(uids.as_deref()), super::ids::lines(gids.as_deref()))),
    };
    if let Some(options) = options.idmap.filter(|_| id_maps.is_none()) {
        let name = if options { "ridmap" } else { "idmap" };
        return Err(Error::config(
            field("options"),
            format!("{name} without uidMappings and gidMappings is not supported"),
        ));
    }
    Ok(MountPlan {
        destination,
        kind,
        options,
        id_maps,
    })
}

/// In a user namespace the caller's own control groups may belong to the container's root. What shows the host's part of the tree is
/// read-only then, whatever the configuration says (CVE-2023-25809): the cgroup mount of a container without a cgroup namespace, and what
/// hangs beneath a read-only `/sys` that was bound with everything in it.
pub(crate) fn close_cgroups(mounts: &mut [MountPlan], namespaces: &Namespaces) {
    if !namespaces.in_user_namespace() {
        return;
    }
    for mount in mounts {
        let options = &mut mount.options;
        let read_only = options.attr.set & ATTR_RDONLY != 0;
        match mount.kind {
            MountKind::Cgroup if !namespaces.has(libc::CLONE_NEWCGROUP) => options.attr.add(ATTR_RDONLY, 0),
            MountKind::Bind { recursive: true, .. } if read_only && mount.destination == Path::new("/sys") => {
                options.recursive_attr.add(ATTR_RDONLY, 0);
            }
            _ => {}
        }
    }
}

/// An absolute path without `.`, `..` and doubled slashes; `..` at the root stays there. Symbolic links are not looked at:
/// that is for the walk beneath the root.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(json: serde_json::Value) -> Mount {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn relative_bind_sources_start_at_the_bundle() {
        let mount =
            mount(serde_json::json!({"destination": "/a/../b/./c", "source": "data", "options": ["rbind", "ro"]}));
        let plan = plan_mount(&mount, 0, Path::new("/bundle")).unwrap();
        assert_eq!(plan.destination, Path::new("/b/c"));
        assert_eq!(
            plan.kind,
            MountKind::Bind {
                source: "/bundle/data".into(),
                recursive: true
            }
        );
    }

    #[test]
    fn the_error_names_the_field() {
        let mount = mount(serde_json::json!({"destination": "/x", "source": "y"}));
        let error = plan_mount(&mount, 3, Path::new("/bundle")).unwrap_err();
        assert!(error.to_string().starts_with("mounts[3].type: "), "{error}");
    }

    #[test]
    fn parent_components_stop_at_the_root() {
        assert_eq!(clean(Path::new("../../etc/./passwd")), Path::new("/etc/passwd"));
        assert_eq!(clean(Path::new("/a/b/../../../..")), Path::new("/"));
    }
}
