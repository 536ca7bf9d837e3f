//! What is different for a user who is not root: which cgroup errors are forgiven, and which configurations cannot work.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::Error;
use crate::plan::Plan;
use crate::plan::mounts::MountKind;

/// Inode of the machine's first user namespace in nsfs (`PROC_USER_INIT_INO` of `<linux/proc_ns.h>`): the same on every machine.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Whether a control group that may not be made is done without: as asked for, else where the caller is not the machine's root (another
/// user, or root of a user namespace).
pub fn applies(asked: Option<bool>) -> bool {
    asked.unwrap_or_else(|| is_unprivileged() || in_user_namespace())
}

/// Whether the caller is an ordinary user, who can map only his own id, and more by `newuidmap`.
pub(crate) fn is_unprivileged() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether the calling process is in a user namespace that is not the machine's first.
pub fn in_user_namespace() -> bool {
    // Without /proc nothing works; that is for others to report.
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() != FIRST_USER_NAMESPACE)
}

/// Whether the state directory belongs beneath `XDG_RUNTIME_DIR`: for an ordinary user, and for the root of a user namespace who does not
/// call himself so (runc's rule).
pub fn honours_runtime_dir() -> bool {
    is_unprivileged() || (in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root"))
}

/// Makes the state directory beneath `XDG_RUNTIME_DIR`. The sticky bit tells those who tidy up there to leave it alone (XDG Base Directory
/// Specification).
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub fn make_root(root: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o1700))
}

/// Refuses, in runc's words, what an ordinary user cannot have.
pub(crate) fn check(plan: &Plan) -> Result<(), Error> {
    if !is_unprivileged() {
        return Ok(());
    }
    if !plan.namespaces.in_user_namespace() {
        return Err(Error::config(
            "linux.namespaces",
            "rootless container requires user namespaces",
        ));
    }
    let Some(maps) = &plan.id_maps else { return Ok(()) };
    for (index, mount) in plan.mounts.iter().enumerate() {
        if !matches!(mount.kind, MountKind::Filesystem { .. }) {
            continue;
        }
        for option in mount.options.data.iter().flat_map(|data| data.split(',')) {
            let (kind, map) = match option.split_once('=') {
                Some(("uid", id)) => (("uid", id), &maps.uids),
                Some(("gid", id)) => (("gid", id), &maps.gids),
                _ => continue,
            };
            // What is no number is for the filesystem to judge.
            if kind.1.parse().is_ok_and(|id| !crate::plan::ids::contains(map, id)) {
                let words = format!(
                    "cannot specify {0}= mount options for unmapped {0} in rootless containers",
                    kind.0
                );
                return Err(Error::config(format!("mounts[{index}].options"), words));
            }
        }
    }
    Ok(())
}

/// A cgroup path that the configuration names: then it is to be had, or an error.
pub(crate) fn names_cgroup(path: Option<&Path>) -> bool {
    path.is_some_and(|path| !path.as_os_str().is_empty())
}
