//! The mount namespace that CRIU restores from.
//!
//! CRIU wants the root to be a mount whose parent is not covered, and every mount point to be there. Both are made in a mount namespace of CRIU's own
//! process, so that nothing of it is left on the host, whatever dies.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::init::fail::{Fail, Step};
use crate::init::mount::{attach, clone_path};
use crate::inroot::{self, Make};
use crate::plan::Plan;
use crate::plan::mounts::MountKind;
use crate::sys::mounts as sys;

/// Enters a mount namespace of its own, binds the root filesystem to the directory `at`, and makes the mount points that are missing.
pub(crate) fn prepare(plan: &Plan, at: &Path) -> Result<(), Fail> {
    sys::unshare(libc::CLONE_NEWNS).step(|| "unshare of the mount namespace")?;
    sys::set_propagation(c"/", libc::MS_SLAVE | libc::MS_REC).step(|| "making the mounts slaves")?;
    let tree = clone_path(&plan.rootfs, true).step(|| format!("open_tree {}", plan.rootfs.display()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(CWD, at, flags, Mode::empty()).step(|| format!("open {}", at.display()))?;
    attach(&tree, &target).step(|| format!("mount of the root at {}", at.display()))?;
    let shown = CString::new(at.as_os_str().as_bytes()).step(|| "path of the root")?;
    // Not private: where the root was a slave of a shared mount (systemd shares all), CRIU takes that over from this one.
    sys::set_propagation(&shown, libc::MS_SLAVE | libc::MS_REC).step(|| "making the root a slave")?;
    make_mountpoints(plan, &tree)
}

/// The mount points, as a new container would get them. What is on a tmpfs comes with its contents. A bind mount may have mount points in it: so it is
/// mounted while they are made.
fn make_mountpoints(plan: &Plan, root: impl AsFd) -> Result<(), Fail> {
    let tmpfs: Vec<&PathBuf> = plan
        .mounts
        .iter()
        .filter(|mount| matches!(&mount.kind, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs"))
        .map(|mount| &mount.destination)
        .collect();
    let mut bound = Vec::new();
    for mount in &plan.mounts {
        let shown = || {
            format!(
                "create criu restore mountpoint for {} mount",
                mount.destination.display()
            )
        };
        let inside = |top: &&&PathBuf| mount.destination != ***top && mount.destination.starts_with(top);
        if mount.kind == MountKind::Cgroup || tmpfs.iter().find(inside).is_some() {
            continue;
        }
        let MountKind::Bind { source, recursive } = &mount.kind else {
            inroot::ensure(&root, &mount.destination, Make::Directory).step(shown)?;
            continue;
        };
        let tree = clone_path(source, *recursive).step(|| format!("open_tree {}", source.display()))?;
        let is_directory = FileType::from_raw_mode(fstat(&tree).step(shown)?.st_mode) == FileType::Directory;
        let make = if is_directory { Make::Directory } else { Make::File };
        let destination = inroot::ensure(&root, &mount.destination, make).step(shown)?;
        attach(&tree, &destination).step(shown)?;
        bound.push(tree);
    }
    for tree in bound.iter().rev() {
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).step(|| "unmount of a bind mount")?;
    }
    Ok(())
}
