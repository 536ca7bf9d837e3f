//! A procfs instance of the runtime's own. Kernel parameters and security labels are written through it, never through a `/proc`
//! that an image, a volume or another container may have mounted something over (CVE-2025-52881).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::fail::{Fail, Step};
use super::mount::{PROC_MAGIC, is_on};

/// A detached procfs mount: nothing can be mounted over any of its files.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// A new instance, of the calling process's pid namespace.
    pub(crate) fn new() -> Result<Self, Fail> {
        let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).step(|| "fsopen proc")?;
        fsconfig_create(&context).step(|| "fsconfig create proc")?;
        let flags =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
            .step(|| "fsmount proc")
            .map(Self)
    }

    /// Writes `value` to the file `path` of it. `path` may lead through `self` and `thread-self`, and nowhere else.
    pub(crate) fn write(&self, path: &str, value: &[u8]) -> Result<(), Fail> {
        let shown = || format!("write /proc/{path}");
        // runc's word, by which a parameter that the kernel does not have is known.
        let opening = || format!("open /proc/{path}");
        let path_only = Path::new(path);
        // `self` is a symbolic link of procfs itself; everything after it must be plain.
        let (base, rest) = match path_only.strip_prefix("self") {
            Ok(rest) => {
                let base = fs::openat(
                    &self.0,
                    c"self",
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                );
                (Some(base.step(opening)?), rest)
            }
            Err(_) => (None, path_only),
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = fs::openat2(base.as_ref().unwrap_or(&self.0), rest, flags, Mode::empty(), resolve).step(opening)?;
        if !is_on(&file, PROC_MAGIC).step(shown)? {
            return Err(Fail(format!("/proc/{path} is not on procfs")));
        }
        rustix::io::write(&file, value).step(shown).map(drop)
    }
}
