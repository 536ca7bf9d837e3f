//! One cgroup directory, held open, its filesystem checked: every read and write of a control file goes through it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result};

/// `CGROUP_SUPER_MAGIC` of linux/magic.h.
const CGROUP1_MAGIC: u64 = 0x0027_e0eb;
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// The most that is read of a control file; `memory.stat` and `cgroup.procs` of thousands stay far below.
const READ_LIMIT: u64 = 8 << 20;

/// Whether `path` is a directory of a cgroup filesystem. Links are not followed.
#[must_use]
pub fn is_cgroup(path: &Path) -> bool {
    Dir::open(path).is_ok()
}

/// An open cgroup directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens `path`, which must be a directory of a cgroup filesystem.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()))?;
        let stat = rustix::fs::fstatfs(&fd).map_err(|e| Error::io("statfs", path)(e.into()))?;
        let magic = (stat.f_type as u64) & 0xffff_ffff;
        if magic != CGROUP1_MAGIC && magic != CGROUP2_MAGIC {
            return Err(Error::NotCgroup(path.to_owned()));
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, opened with `O_PATH`.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn open_file(&self, file: &str, flags: OFlags) -> io::Result<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let fd = rustix::fs::openat2(self.fd.as_fd(), file, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        Ok(File::from(fd))
    }

    /// Opens a control file for reading and polling.
    pub(crate) fn open_read(&self, file: &str) -> Result<File> {
        self.open_file(file, OFlags::RDONLY)
            .map_err(Error::io("open", &self.path.join(file)))
    }

    /// Writes a control file in one `write(2)`, as the kernel asks for.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<()> {
        let mut handle = self
            .open_file(file, OFlags::WRONLY | OFlags::TRUNC)
            .map_err(Error::io("open", &self.path.join(file)))?;
        loop {
            match handle.write(value.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let (path, value) = (self.path.join(file), value.to_owned());
                    return Err(Error::Write { path, value, source });
                }
            }
        }
    }

    /// Reads a control file whole.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let mut text = String::new();
        self.open_file(file, OFlags::RDONLY)
            .map_err(Error::io("open", &self.path.join(file)))?
            .take(READ_LIMIT)
            .read_to_string(&mut text)
            .map_err(Error::io("read", &self.path.join(file)))?;
        Ok(text)
    }

    /// Reads a control file that some kernels or cgroups (the root) do not have, or that its controller refuses to show.
    pub(crate) fn read_optional(&self, file: &str) -> Result<Option<String>> {
        match self.read(file) {
            Ok(text) => Ok(Some(text)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a control file that holds one number; `max` and values above `i64::MAX` read as `u64::MAX`.
    pub(crate) fn read_u64(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.read_optional(file)? else {
            return Ok(None);
        };
        parse_u64(text.trim()).map(Some).ok_or_else(|| Error::Parse {
            path: self.path.join(file),
            content: text.trim().to_owned(),
        })
    }

    /// Gives a control file, or with `.` the directory itself, to a user.
    pub(crate) fn chown(&self, file: &str, uid: u32) -> Result<()> {
        let user = Some(rustix::fs::Uid::from_raw(uid));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&self.fd, file, user, None, flags)
            .map_err(|e| Error::io("chown", &self.path.join(file))(e.into()))
    }

    /// Whether the directory has this control file.
    pub(crate) fn has(&self, file: &str) -> bool {
        rustix::fs::accessat(&self.fd, file, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
    }
}

/// A number of a control file. Negative numbers (`-1` in `cpu.cfs_quota_us`) read as "no limit".
pub(crate) fn parse_u64(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        _ if text.starts_with('-') => text.parse::<i64>().ok().map(|_| u64::MAX),
        _ => text.parse().ok(),
    }
}

/// The names of the child cgroups of `path`.
pub(crate) fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("open", path))? {
        let entry = entry.map_err(Error::io("readdir", path))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            children.push(entry.path());
        }
    }
    Ok(children)
}
