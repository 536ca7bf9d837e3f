//! The root filesystem, from the host's tree to `pivot_root`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::fail::{Fail, Step};
use super::mountinfo::{self, Entry};
use super::{cgroup_mount, dev, mask, mount};
use crate::inroot;
use crate::plan::Plan;
use crate::plan::mount_options::AttrChange;
use crate::plan::mounts::MountKind;
use crate::sources::Source;
use crate::sys::mounts::{self as sys, ATTR_RDONLY, MountAttr};

/// A root filesystem under construction.
#[derive(Debug)]
pub(crate) struct Rootfs {
    root: OwnedFd,
    /// Mounts that become read-only when everything beneath them has been made.
    late_read_only: Vec<OwnedFd>,
}

impl Rootfs {
    /// Cuts the host's tree off from propagation and puts a copy of the root filesystem's mounts over it.
    pub(crate) fn new(plan: &Plan) -> Result<Self, Fail> {
        let (flag, _) = plan.root_propagation.unwrap_or((libc::MS_SLAVE, true));
        let shared = flag == libc::MS_SHARED;
        if shared {
            // The host's peers stay peers, so that a volume may propagate; only the mount that the root lies on is cut off,
            // or the root itself would appear on the host.
            make_parent_private(&plan.rootfs)?;
        } else {
            let flag = if flag == libc::MS_UNBINDABLE {
                libc::MS_PRIVATE
            } else {
                flag
            };
            sys::set_propagation(c"/", flag | libc::MS_REC).step(|| "setting the propagation of /")?;
        }
        let root = mount::clone_path(&plan.rootfs, true)
            .step(|| format!("error preparing rootfs: open_tree {}", plan.rootfs.display()))?;
        if shared {
            // Its peers are the host's: it becomes shared again, with nobody, when it is the root.
            let private = MountAttr {
                propagation: libc::MS_PRIVATE,
                ..MountAttr::default()
            };
            sys::mount_setattr(&root, &private, false).step(|| "error preparing rootfs: mount_setattr")?;
        }
        move_mount(&root, c"", CWD, &plan.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step(|| format!("error preparing rootfs: move_mount {}", plan.rootfs.display()))?;
        Ok(Self {
            root,
            late_read_only: Vec::new(),
        })
    }

    /// The root's descriptor.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Carries out all mounts in their order. `enter_cgroup` is called before the first one of control groups.
    pub(crate) fn mount_all(
        &mut self,
        plan: &Plan,
        cgroup_steps: &[runc_rs_cgroups::mounts::Step],
        sources: &[Option<Source>],
        mut enter_cgroup: impl FnMut() -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        for (index, planned) in plan.mounts.iter().enumerate() {
            if planned.kind == MountKind::Cgroup {
                enter_cgroup()?;
                cgroup_mount::mount(self.root.as_fd(), planned, cgroup_steps)?;
                continue;
            }
            let source = sources.get(index).and_then(Option::as_ref);
            if let Some(late) = mount::mount(self.root.as_fd(), planned, source)? {
                self.late_read_only.push(late);
            }
        }
        Ok(())
    }

    /// Fills `/dev`.
    pub(crate) fn make_dev(&self, plan: &Plan) -> Result<(), Fail> {
        if !plan.set_up_dev {
            return Ok(());
        }
        dev::make_nodes(self.root(), &plan.devices, plan.namespaces.in_user_namespace())?;
        dev::make_links(self.root())
    }

    /// Makes the working directory when it is missing, masks, and makes read-only what is to be.
    pub(crate) fn seal(&self, plan: &Plan) -> Result<(), Fail> {
        let cwd = crate::plan::mounts::clean(&plan.process.cwd);
        // A file, or a path through one, is refused in runc's words; what else is wrong is told when the directory is entered.
        let file = match inroot::ensure(self.root(), &cwd, inroot::Make::Directory) {
            Ok(there) => rustix::fs::fstat(&there).is_ok_and(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFDIR),
            Err(error) => error.raw_os_error() == Some(libc::ENOTDIR),
        };
        if file {
            return Err(Fail(format!("mkdir {}: not a directory", cwd.display())));
        }
        mask::read_only(self.root(), &plan.readonly_paths)?;
        mask::mask(self.root(), &plan.masked_paths)?;
        let read_only = AttrChange {
            set: ATTR_RDONLY,
            clear: 0,
        };
        for late in &self.late_read_only {
            mount::change(late, read_only, false).step(|| "error remounting read-only")?;
        }
        if plan.root_readonly {
            mount::change(&self.root, read_only, false).step(|| "error making the root read-only")?;
        }
        Ok(())
    }

    /// Makes this tree the root of the process, and takes the host's away.
    pub(crate) fn enter(self, plan: &Plan, no_pivot: bool) -> Result<(), Fail> {
        if no_pivot {
            hide_kernel_filesystems(&plan.rootfs)?;
        }
        fchdir(&self.root).step(|| "fchdir to the root")?;
        if no_pivot {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&self.root, c"", CWD, c"/", flags).step(|| "move_mount of the root to /")?;
            chroot(c".").step(|| "chroot")?;
        } else {
            // The old root ends up on top of the new one. It is entered by descriptor: "." is still the new one.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let old = openat(CWD, c"/", flags, Mode::empty()).step(|| "open the old root")?;
            pivot_root(c".", c".").step(|| "pivot_root")?;
            fchdir(&old).step(|| "fchdir to the old root")?;
            // Its end must not reach the host's mounts.
            sys::set_propagation(c".", libc::MS_SLAVE | libc::MS_REC).step(|| "making the old root a slave")?;
            unmount(c".", UnmountFlags::DETACH).step(|| "unmount of the old root")?;
        }
        chdir(c"/").step(|| "chdir to /")?;
        if let Some((flag, recursive)) = plan.root_propagation {
            let attr = MountAttr {
                propagation: flag,
                ..MountAttr::default()
            };
            sys::mount_setattr(&self.root, &attr, recursive).step(|| "setting the root's propagation")?;
        }
        Ok(())
    }
}

/// Takes the host's procfs and sysfs out of this mount namespace. Without `pivot_root` they would stay in it, out of sight, and the kernel
/// would take them for a reason to let a user namespace mount fresh ones, without our masks.
fn hide_kernel_filesystems(rootfs: &Path) -> Result<(), Fail> {
    let mounts = mountinfo::own().step(|| "read mountinfo")?;
    let full = |mount: &&Entry| matches!(mount.fstype.as_str(), "proc" | "sysfs") && mount.root == "/";
    let hosts = mounts
        .iter()
        .filter(full)
        .filter(|mount| !mount.mountpoint.starts_with(rootfs));
    // The last ones lie on top.
    for mount in hosts.rev() {
        let step = || format!("unmount {}", mount.mountpoint.display());
        let path = CString::new(mount.mountpoint.as_os_str().as_bytes()).map_err(|_| Fail::new("NUL in mountinfo"))?;
        match sys::set_propagation(&path, libc::MS_SLAVE | libc::MS_REC) {
            // Under another one that is gone already.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => continue,
            result => result.step(step)?,
        }
        match unmount(path.as_c_str(), UnmountFlags::DETACH) {
            // Inherited by a user namespace: it cannot be taken away, only covered.
            Err(Errno::INVAL | Errno::PERM) => sys::mount(c"tmpfs", &path, c"tmpfs", 0, c"").step(step)?,
            result => result.step(step)?,
        }
    }
    Ok(())
}

/// Makes private the mount of this namespace that `path` lies on.
fn make_parent_private(path: &Path) -> Result<(), Fail> {
    let mounts = mountinfo::own().step(|| "read mountinfo")?;
    let mountpoint = mounts
        .iter()
        .map(|mount| mount.mountpoint.as_path())
        .filter(|mountpoint| path.starts_with(mountpoint))
        .max_by_key(|mountpoint| mountpoint.as_os_str().len())
        .unwrap_or_else(|| Path::new("/"));
    let target = CString::new(mountpoint.as_os_str().as_bytes()).map_err(|_| Fail::new("NUL in mountinfo"))?;
    sys::set_propagation(&target, libc::MS_PRIVATE).step(|| format!("making {} private", mountpoint.display()))
}
