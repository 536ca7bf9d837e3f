//! A root that nothing leads out of: directories beneath it, held open.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use containerd_rs_core::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

/// Directories held open at a time.
const CACHE: usize = 256;

/// A directory beneath the root.
pub(crate) struct Dir {
    fd: OwnedFd,
    /// Whether new files take the directory's group.
    pub(crate) set_gid: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The root, and directories beneath it by their paths.
pub(crate) struct Root {
    path: PathBuf,
    top: Rc<Dir>,
    open: HashMap<Vec<u8>, Rc<Dir>>,
}

fn dir(fd: OwnedFd) -> rustix::io::Result<Rc<Dir>> {
    let set_gid = fstat(&fd)?.st_mode & 0o2000 != 0;
    Ok(Rc::new(Dir { fd, set_gid }))
}

impl Root {
    /// Opens the root. Its path is the caller's own, and trusted.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty()).and_then(dir);
        let top = opened.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Ok(Root {
            path: path.to_path_buf(),
            top,
            open: HashMap::new(),
        })
    }

    /// A directory by its clean path, links resolved within the root. `None` when no directory is there.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn dir(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        if path.is_empty() {
            return Ok(Some(Rc::clone(&self.top)));
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(Some(Rc::clone(dir)));
        }
        match self.resolve(path) {
            Ok(dir) => {
                self.keep(path, &dir);
                Ok(Some(dir))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                let shown = path.escape_ascii();
                Err(Error::InvalidArgument(format!(
                    "mkparent /{shown}: not a directory: invalid archive"
                )))
            }
            Err(e) => Err(self.error("open", path, e)),
        }
    }

    fn resolve(&self, path: &[u8]) -> rustix::io::Result<Rc<Dir>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.top.fd, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                // The kernel saw a rename on the way and will not answer for the result.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.and_then(dir),
            }
        }
    }

    fn keep(&mut self, path: &[u8], dir: &Rc<Dir>) {
        if self.open.len() >= CACHE {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), Rc::clone(dir));
    }

    /// Forgets what is held, since a directory or a link to one is not what it was.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// An error of a call on a path beneath the root.
    pub(crate) fn error(&self, call: &str, path: &[u8], e: Errno) -> Error {
        Error::io(format!("{call} {}/{}", self.path.display(), path.escape_ascii()), e)
    }
}
