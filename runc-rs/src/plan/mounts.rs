//! The mounts of a container as plain data.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::ids::IdMaps;
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
    /// SELinux's context for everything in a new filesystem.
    pub(crate) label: Option<String>,
    /// Whose ids the mount shows in place of the filesystem's.
    pub(crate) id_mapping: Option<IdMapping>,
}

/// The ids of an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IdMapping {
    /// These: lines for `uid_map` and `gid_map`.
    Maps(String, String),
    /// Those of the user namespace that the container joins.
    Joined,
}

impl MountPlan {
    /// Read-only takes effect after everything beneath the mount has been made.
    pub(crate) fn read_only_at_the_end(&self) -> bool {
        matches!(&self.kind, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs")
            && (self.options.attr.set | self.options.recursive_attr.set) & ATTR_RDONLY != 0
    }
}

/// What a mount needs to know of the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Absolute path of the bundle.
    pub(crate) bundle: &'a Path,
    /// Mappings of the new user namespace.
    pub(crate) id_maps: Option<&'a IdMaps>,
    /// It joins a user namespace.
    pub(crate) joins_user_namespace: bool,
    /// `linux.mountLabel`.
    pub(crate) label: Option<&'a str>,
}

/// Sorts one mount of the configuration. `index` is its place, for errors.
pub(crate) fn plan_mount(mount: &Mount, index: usize, around: Surroundings<'_>) -> Result<MountPlan, Error> {
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
            source: around.bundle.join(source),
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
    // The kernel would ignore them, and nobody would know.
    if matches!(kind, MountKind::Bind { .. }) && !options.data.is_empty() {
        return Err(Error::config(
            field("options"),
            "bind mounts cannot have any filesystem-specific options applied",
        ));
    }
    let id_mapping = id_mapping(mount, &options, around).map_err(|message| Error::config(field("options"), message))?;
    if id_mapping.is_some() && matches!(kind, MountKind::Remount | MountKind::Cgroup) {
        let message = "id-mapped mounts are only supported for bind-mounts";
        return Err(Error::config(field("options"), message));
    }
    let label = match &kind {
        // The kernel labels these itself.
        MountKind::Filesystem { fstype, .. } if fstype == "proc" || fstype == "sysfs" => None,
        MountKind::Filesystem { .. } => around.label.map(str::to_owned),
        _ => None,
    };
    Ok(MountPlan {
        destination,
        kind,
        options,
        label,
        id_mapping,
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

/// The mount's own mappings, or with `idmap` or `ridmap` alone those of the container's user namespace.
fn id_mapping(
    mount: &Mount,
    options: &MountOptions,
    around: Surroundings<'_>,
) -> Result<Option<IdMapping>, &'static str> {
    let uids = super::ids::lines(mount.uid_mappings().as_deref());
    let gids = super::ids::lines(mount.gid_mappings().as_deref());
    let missing = Err("id-mapped mounts must have both uid and gid mappings specified");
    if let Some(lists) = &options.idmap_lists {
        return match super::idmap_lists::parse(lists) {
            Some((uids, gids)) => Ok(Some(IdMapping::Maps(uids, gids))),
            None => missing,
        };
    }
    match (uids.is_empty(), gids.is_empty()) {
        (false, false) => Ok(Some(IdMapping::Maps(uids, gids))),
        (true, true) if options.idmap.is_none() => Ok(None),
        (true, true) => match around.id_maps {
            Some(maps) => Ok(Some(IdMapping::Maps(maps.uids.clone(), maps.gids.clone()))),
            None if around.joins_user_namespace => Ok(Some(IdMapping::Joined)),
            None => missing,
        },
        _ => missing,
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

    fn around() -> Surroundings<'static> {
        Surroundings {
            bundle: Path::new("/bundle"),
            id_maps: None,
            joins_user_namespace: false,
            label: None,
        }
    }

    fn mount(json: serde_json::Value) -> Mount {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn relative_bind_sources_start_at_the_bundle() {
        let mount =
            mount(serde_json::json!({"destination": "/a/../b/./c", "source": "data", "options": ["rbind", "ro"]}));
        let plan = plan_mount(&mount, 0, around()).unwrap();
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
        let error = plan_mount(&mount, 3, around()).unwrap_err();
        assert!(error.to_string().starts_with("mounts[3].type: "), "{error}");
    }

    #[test]
    fn mappings_are_the_mounts_own_or_the_containers() {
        let own = serde_json::json!([{"containerID": 0, "hostID": 7, "size": 1}]);
        let maps = IdMaps {
            uids: "0 1 2\n".into(),
            gids: "0 3 4\n".into(),
        };
        let plain = serde_json::json!({"destination": "/x", "source": "y", "options": ["bind", "idmap"]});
        let mapped = serde_json::json!({"destination": "/x", "source": "y", "options": ["bind"], "uidMappings": own, "gidMappings": own});
        let half = serde_json::json!({"destination": "/x", "source": "y", "options": ["bind"], "uidMappings": own});
        let plan = |json: &serde_json::Value, id_maps, joins_user_namespace| {
            let around = Surroundings {
                id_maps,
                joins_user_namespace,
                ..around()
            };
            plan_mount(&mount(json.clone()), 0, around).map(|plan| plan.id_mapping)
        };
        let line = || "0 7 1\n".to_owned();
        assert_eq!(
            plan(&mapped, Some(&maps), false).unwrap(),
            Some(IdMapping::Maps(line(), line()))
        );
        assert_eq!(
            plan(&plain, Some(&maps), false).unwrap(),
            Some(IdMapping::Maps(maps.uids.clone(), maps.gids.clone()))
        );
        assert_eq!(plan(&plain, None, true).unwrap(), Some(IdMapping::Joined));
        for json in [&plain, &half] {
            let error = plan(json, None, false).unwrap_err().to_string();
            assert!(
                error.contains("must have both uid and gid mappings specified"),
                "{error}"
            );
        }
    }

    #[test]
    fn labels_are_for_filesystems_that_have_none_of_their_own() {
        for (fstype, labelled) in [
            ("tmpfs", true),
            ("mqueue", true),
            ("devpts", true),
            ("proc", false),
            ("sysfs", false),
            ("bind", false),
        ] {
            let mount = mount(serde_json::json!({"destination": "/x", "type": fstype, "source": "y"}));
            let around = Surroundings {
                label: Some("a:b:c"),
                ..around()
            };
            let plan = plan_mount(&mount, 0, around).unwrap();
            assert_eq!(plan.label.is_some(), labelled, "{fstype}");
        }
    }

    #[test]
    fn a_bind_mount_has_no_options_of_a_filesystem() {
        let mount = mount(serde_json::json!({"destination": "/x", "source": "y", "options": ["bind", "size=1m"]}));
        let error = plan_mount(&mount, 0, around()).unwrap_err().to_string();
        assert!(
            error.contains("bind mounts cannot have any filesystem-specific options applied"),
            "{error}"
        );
    }

    #[test]
    fn parent_components_stop_at_the_root() {
        assert_eq!(clean(Path::new("../../etc/./passwd")), Path::new("/etc/passwd"));
        assert_eq!(clean(Path::new("/a/b/../../../..")), Path::new("/"));
    }
}
