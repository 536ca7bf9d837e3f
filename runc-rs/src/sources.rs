//! Sources of mounts that only the runtime itself may open or map: the child is in the container's user namespace when it mounts, and has
//! no say over the host's filesystems there. They are opened before the fork, as detached mounts that the child attaches.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::Error;
use crate::init::mount::clone_source;
use crate::plan::Plan;
use crate::plan::mounts::{IdMapping, MountKind, MountPlan};
use crate::spawn;
use crate::sys::mounts::{self as sys, MountAttr};

/// What was made ready for one mount.
#[derive(Debug)]
pub(crate) enum Source {
    /// The source, its ids mapped: to be attached in place of a copy of the child's own.
    Mapped(OwnedFd),
    /// The source, for a child that cannot reach it.
    Spare(OwnedFd),
    /// The user namespace that maps the ids of a new filesystem instance.
    UserNamespace(OwnedFd),
}

impl Source {
    /// The descriptor, whatever it stands for.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Mapped(fd) | Self::Spare(fd) | Self::UserNamespace(fd) => fd.as_raw_fd(),
        }
    }
}

/// Makes ready what the mounts of `plan` need, in their order. `joins` are the namespaces to be joined.
pub(crate) fn prepare(plan: &Plan, joins: &[(i32, OwnedFd)]) -> Result<Vec<Option<Source>>, Error> {
    let mut namespaces = UserNamespaces {
        joined: joins
            .iter()
            .find(|(flag, _)| *flag == libc::CLONE_NEWUSER)
            .map(|(_, fd)| fd),
        made: HashMap::new(),
    };
    plan.mounts
        .iter()
        .map(|mount| one(plan, mount, &mut namespaces))
        .collect()
}

fn one(plan: &Plan, mount: &MountPlan, namespaces: &mut UserNamespaces<'_>) -> Result<Option<Source>, Error> {
    let userns = mount.id_mapping.as_ref().map(|ids| namespaces.get(ids)).transpose()?;
    let MountKind::Bind { source, recursive } = &mount.kind else {
        return Ok(userns.map(Source::UserNamespace));
    };
    let open = || {
        let failed = |error| Error::file("open_tree", source, error);
        let tree = clone_source(source, *recursive, mount.options.source_nofollow).map_err(failed)?;
        cut_off(plan, &tree).map_err(|error| Error::file("mount_setattr", source, error))?;
        Ok::<_, Error>(tree)
    };
    match userns {
        Some(userns) => {
            let tree = open()?;
            map_ids(&tree, &userns, mount.options.idmap == Some(true)).map_err(|error| {
                let hint = match error.raw_os_error() {
                    Some(libc::EINVAL) => " (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
                    _ => "",
                };
                let why = format!("{}{hint}", crate::words::Words(&error));
                Error::Process(format!("failed to set MOUNT_ATTR_IDMAP on {}: {why}", source.display()))
            })?;
            Ok(Some(Source::Mapped(tree)))
        }
        // Where this fails, the child says why, if it fails for it too.
        None if plan.namespaces.in_user_namespace() => Ok(open().ok().map(Source::Spare)),
        None => Ok(None),
    }
}

/// The tree is a copy of the host's own: it gets the propagation that the child gives to everything of the host's.
fn cut_off(plan: &Plan, tree: &OwnedFd) -> std::io::Result<()> {
    let propagation = match plan.root_propagation {
        Some((libc::MS_SHARED, _)) => return Ok(()),
        Some((libc::MS_PRIVATE | libc::MS_UNBINDABLE, _)) => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    };
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    sys::mount_setattr(tree, &attr, true)
}

/// Has the ids of the mount `tree` mapped by the user namespace `userns`.
pub(crate) fn map_ids(tree: impl AsFd, userns: impl AsFd, recursive: bool) -> std::io::Result<()> {
    let attr = MountAttr {
        set: sys::ATTR_IDMAP,
        userns_fd: u64::from(userns.as_fd().as_raw_fd().unsigned_abs()),
        ..MountAttr::default()
    };
    sys::mount_setattr(tree, &attr, recursive)
}

/// User namespaces by what they map: making one costs a process.
struct UserNamespaces<'a> {
    joined: Option<&'a OwnedFd>,
    made: HashMap<(String, String), OwnedFd>,
}

impl UserNamespaces<'_> {
    fn get(&mut self, ids: &IdMapping) -> Result<OwnedFd, Error> {
        let namespace = match ids {
            IdMapping::Joined => self.joined,
            IdMapping::Maps(uids, gids) => {
                let key = (uids.clone(), gids.clone());
                if !self.made.contains_key(&key) {
                    let namespace = spawn::user_namespace(uids, gids)?;
                    self.made.insert(key.clone(), namespace);
                }
                self.made.get(&key)
            }
        };
        namespace
            .ok_or_else(|| Error::config("linux.namespaces", "the user namespace to join is not open"))?
            .try_clone()
            .map_err(|error| Error::system("dup of a user namespace", error))
    }
}
