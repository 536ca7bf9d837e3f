//! Masked and read-only paths. Both are done before the root is changed, by descriptor beneath it, with the host's `/dev/null`:
//! the container's own, which an image or a shared volume may have swapped, is never used (CVE-2025-31133).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FileType, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::dev::host_null;
use super::fail::{Fail, Step};
use super::mount::{attach, change, clone_fd};
use crate::inroot;
use crate::plan::mount_options::AttrChange;
use crate::sys::mounts::ATTR_RDONLY;

/// The path beneath the root; `None` when it is not there, which is no error.
fn look(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Fail> {
    match inroot::open(root, path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).step(|| format!("open {}", path.display())),
    }
}

/// Covers each path: files by `/dev/null`, directories by an empty read-only tmpfs, which all of them share.
pub(crate) fn mask(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Result<(), Fail> {
    if paths.is_empty() {
        return Ok(());
    }
    let null = host_null()?;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = look(root, path)? else { continue };
        let kind = FileType::from_raw_mode(fs::fstat(&target).step(|| "stat of a masked path")?.st_mode);
        let tree = if kind != FileType::Directory {
            clone_fd(&null, false)
        } else if let Some(empty) = &empty {
            clone_fd(empty, false)
        } else {
            empty_directory()
        };
        let tree = tree.step(|| format!("can't mask path {:?}", path.display().to_string()))?;
        attach(&tree, &target).step(|| format!("can't mask path {:?}", path.display().to_string()))?;
        if kind == FileType::Directory && empty.is_none() {
            empty = Some(tree);
        }
    }
    Ok(())
}

/// An empty, read-only tmpfs.
pub(super) fn empty_directory() -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", c"tmpfs")?;
    fsconfig_set_string(&context, c"nr_blocks", c"1")?;
    fsconfig_set_string(&context, c"nr_inodes", c"1")?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// Binds each path to itself, read-only.
pub(crate) fn read_only(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Result<(), Fail> {
    for path in paths {
        let Some(target) = look(root, path)? else { continue };
        let step = || format!("can't make {:?} read-only", path.display().to_string());
        let tree = clone_fd(target.as_fd(), true).step(step)?;
        change(
            &tree,
            AttrChange {
                set: ATTR_RDONLY,
                clear: 0,
            },
            false,
        )
        .step(step)?;
        attach(&tree, &target).step(step)?;
    }
    Ok(())
}
