//! A look into a container's file system before it runs: for users by name, and for what an image puts into a volume.
//!
//! The snapshot's mounts are made at a private place, opened, and let go at once (a detached mount lives as long as a descriptor of it), read
//! only and without the layer that is written to: whoever reads can be killed at any line and leaves nothing mounted. Files are opened
//! beneath that descriptor with `openat2(RESOLVE_IN_ROOT)`, so links in the image lead nowhere else.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use containerd_proto::containerd::types::Mount;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{Error, Result};

/// Most bytes read of a passwd or group file.
const LONGEST: u64 = 4 << 20;

/// An open root.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    /// The root of a process that runs.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        Self::open_directory(Path::new(&format!("/proc/{pid}/root")))
    }

    /// The root that a snapshot's mounts make. `place` is an empty directory of the daemon's.
    pub(crate) fn of_mounts(mounts: &[Mount], place: &Path) -> Result<Self> {
        let [only] = mounts else {
            return Err(Error::internal(format!("a snapshot with {} mounts", mounts.len())));
        };
        match only.r#type.as_str() {
            "bind" | "rbind" => Self::open_directory(Path::new(&only.source)),
            "overlay" => Self::of_overlay(&only.options, place),
            other => Err(Error::internal(format!(
                "a snapshot of file system {other:?} cannot be looked into"
            ))),
        }
    }

    fn of_overlay(options: &[String], place: &Path) -> Result<Self> {
        let of = |key: &str| options.iter().find_map(|option| option.strip_prefix(key));
        let lower = of("lowerdir=").unwrap_or_default();
        let layers: Vec<&str> = of("upperdir=")
            .into_iter()
            .chain(lower.split(':').filter(|layer| !layer.is_empty()))
            .collect();
        if let [only] = layers.as_slice() {
            return Self::open_directory(Path::new(only));
        }
        let failed = |e: rustix::io::Errno| Error::failed(format!("mount overlay at {}", place.display()), e);
        std::fs::create_dir_all(place).map_err(|e| Error::failed(format!("mkdir {}", place.display()), e))?;
        let data = std::ffi::CString::new(format!("lowerdir={}", layers.join(":")))
            .map_err(|e| Error::failed("overlay options", e))?;
        mount("overlay", place, "overlay", MountFlags::RDONLY, data.as_c_str()).map_err(failed)?;
        let root = Self::open_directory(place);
        unmount(place, UnmountFlags::DETACH).map_err(failed)?;
        // Another look may hold the directory as its own place.
        let _ = std::fs::remove_dir(place);
        root
    }

    fn open_directory(path: &Path) -> Result<Self> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        fd.map(Self)
            .map_err(|e| Error::failed(format!("open {}", path.display()), e))
    }

    /// The content of a regular file; nothing when there is none.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(format!("read {path} in the container"), e);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat2(
            &self.0,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(String::new());
            }
            Err(e) => return Err(failed(&e)),
        };
        if !file.metadata().map_err(|e| failed(&e))?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A directory beneath the root; none when it is not there or something else.
    pub(crate) fn directory(&self, path: &str) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(
            &self.0,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .ok()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a directory has nothing in it.
pub(crate) fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Opens a directory of the daemon's own.
pub(crate) fn own_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| Error::failed(format!("open {}", path.display()), e))
}
