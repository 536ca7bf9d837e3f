//! The container's `/sys/fs/cgroup`, from the steps that the cgroup crate plans.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use runc_rs_cgroups::mounts::Step as CgroupStep;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::fail::{Fail, Step};
use super::mask::empty_directory;
use super::mount::{attach, change, clone_path, open_destination, propagate};
use crate::inroot::{self, Make};
use crate::plan::mount_options::AttrChange;
use crate::plan::mounts::MountPlan;
use crate::sys::mounts as sys;

/// Carries out `steps` at the mount's destination. With `ro`, everything is read-only when it returns.
pub(crate) fn mount(root: BorrowedFd<'_>, plan: &MountPlan, steps: &[CgroupStep]) -> Result<(), Fail> {
    run(root, plan, steps).map_err(|Fail(why)| {
        Fail(format!(
            "error mounting \"cgroup\" to rootfs at {:?}: {why}",
            plan.destination.display().to_string()
        ))
    })
}

fn run(root: BorrowedFd<'_>, plan: &MountPlan, steps: &[CgroupStep]) -> Result<(), Fail> {
    let destination = open_destination(root, plan, Make::Directory)?;
    let attr = plan.options.attr.set;
    // The directory in which targets are looked up: the tmpfs once it is there, else the destination.
    let mut base = destination;
    let mut top: Option<OwnedFd> = None;
    for step in steps {
        match step {
            CgroupStep::Tmpfs => {
                let tree = instance(
                    "tmpfs",
                    &["mode=755"],
                    sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC,
                )
                .step(|| "mount tmpfs")?;
                attach(&tree, &base).step(|| "move_mount")?;
                // The mount itself, not its name: that may be another's by now.
                base = tree.try_clone().step(|| "dup of the tmpfs")?;
                top = Some(tree);
            }
            CgroupStep::Directory { target } => {
                fs::mkdirat(&base, target, Mode::from_raw_mode(0o755)).step(|| format!("mkdir {target}"))?;
            }
            CgroupStep::Symlink { target, link } => {
                fs::symlinkat(link, &base, target).step(|| format!("symlink {target}"))?;
            }
            CgroupStep::Cgroup1 { target, data } => {
                let options: Vec<&str> = data.split(',').collect();
                let tree = instance("cgroup", &options, attr).step(|| format!("mount cgroup {data}"))?;
                attach(&tree, open_target(&base, target)?).step(|| format!("move_mount {target}"))?;
            }
            CgroupStep::Cgroup2 { target, fallback } => {
                let tree = match instance("cgroup2", &[], attr) {
                    Err(Errno::PERM | Errno::BUSY) => bound_or_masked(fallback, attr)?,
                    result => result.step(|| "mount cgroup2")?,
                };
                attach(&tree, open_target(&base, target)?).step(|| "move_mount cgroup2")?;
                if target.is_empty() {
                    top = Some(tree);
                }
            }
            CgroupStep::Bind { source, target } => {
                attach(&bound(source, attr)?, open_target(&base, target)?).step(|| format!("move_mount {target}"))?;
            }
        }
    }
    let Some(top) = top else { return Ok(()) };
    propagate(&top, plan)?;
    let read_only = AttrChange {
        set: attr & sys::ATTR_RDONLY,
        clear: 0,
    };
    change(&top, read_only, false).step(|| "mount_setattr")
}

/// The directory `target` of the base, or the base itself.
fn open_target(base: &OwnedFd, target: &str) -> Result<OwnedFd, Fail> {
    let path = if target.is_empty() {
        Path::new(".")
    } else {
        Path::new(target)
    };
    inroot::open_no_links(base.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY).step(|| format!("open {target}"))
}

/// A container without a cgroup of its own sees none: the host's, which `/sys` may have brought along, is covered (CVE-2023-25809).
fn bound_or_masked(source: &Path, attr: u64) -> Result<OwnedFd, Fail> {
    if source.exists() {
        return bound(source, attr);
    }
    empty_directory().step(|| "mount tmpfs")
}

fn bound(source: &Path, attr: u64) -> Result<OwnedFd, Fail> {
    let tree = clone_path(source, false).step(|| format!("open_tree {}", source.display()))?;
    change(&tree, AttrChange { set: attr, clear: 0 }, false).step(|| "mount_setattr")?;
    Ok(tree)
}

fn instance(fstype: &str, options: &[&str], attr: u64) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", fstype)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, *option)?,
        }
    }
    fsconfig_create(&context)?;
    // The tmpfs is made read-only last, a hierarchy at once.
    let attr = if fstype == "tmpfs" {
        attr & !sys::ATTR_RDONLY
    } else {
        attr
    };
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attr).unwrap_or(0));
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}
