//! Paths inside a container's root, resolved as the container would see them and never outside it.
//!
//! Opening is one `openat2(RESOLVE_IN_ROOT)`. Making what is missing is a walk, one component at a time by descriptor, so that
//! neither a symbolic link nor a component swapped while we look can lead out of the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How many symbolic links one path may lead through, as in the kernel.
const MAX_LINKS: u32 = 40;
/// How often a walk that raced with a rename is taken again.
const MAX_RETRIES: u32 = 128;

/// What [`ensure`] makes when the path is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// Opens `path` beneath `root`; symbolic links are followed inside the root, magic ones never.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(
        root.as_fd(),
        path,
        flags,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens `path` beneath `root` where no component may be a symbolic link.
pub(crate) fn open_no_links(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(
        root.as_fd(),
        path,
        flags,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new("/")
    } else {
        path
    };
    for _ in 0..MAX_RETRIES {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            // EAGAIN: a rename or mount somewhere on the machine made the kernel doubt a "..".
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Opens `path` (`O_PATH`) beneath `root`, making what is missing: directories on the way, and the last component as `make` says.
pub(crate) fn ensure(root: impl AsFd, path: &Path, make: Make) -> io::Result<OwnedFd> {
    let root = root.as_fd();
    match open(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Walk::new(root)?.run(path, make),
        result => result,
    }
}

/// As [`ensure`], but a symbolic link in the last component is what is opened.
pub(crate) fn ensure_nofollow(root: impl AsFd, path: &Path, make: Make) -> io::Result<OwnedFd> {
    let (parent, name) = ensure_parent(root, path)?;
    Walk::new(parent.as_fd())?.step(name, make)
}

/// Opens the directory that holds `path`, making it when missing, and returns it with the last component's name.
pub(crate) fn ensure_parent(root: impl AsFd, path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    Ok((ensure(root, parent, Make::Directory)?, name))
}

/// A walk from the root, with the descriptors of the directories it came through.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    trail: Vec<OwnedFd>,
    ahead: VecDeque<OsString>,
    links: u32,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>) -> io::Result<Self> {
        Ok(Self {
            root,
            trail: Vec::new(),
            ahead: VecDeque::new(),
            links: 0,
        })
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.trail.last().map_or(self.root, AsFd::as_fd)
    }

    /// Puts the components of `path` before what is still ahead.
    fn push_front(&mut self, path: &Path) {
        let names: Vec<OsString> = path
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_owned()),
                Component::ParentDir => Some(OsString::from("..")),
                _ => None,
            })
            .collect();
        for name in names.into_iter().rev() {
            self.ahead.push_front(name);
        }
    }

    fn run(mut self, path: &Path, make: Make) -> io::Result<OwnedFd> {
        self.push_front(path);
        while let Some(name) = self.ahead.pop_front() {
            if name == ".." {
                self.trail.pop();
                continue;
            }
            let last = self.ahead.is_empty();
            let fd = self.step(&name, if last { make } else { Make::Directory })?;
            let kind = FileType::from_raw_mode(fs::fstat(&fd)?.st_mode);
            if kind == FileType::Symlink {
                self.follow(&fd)?;
            } else if kind == FileType::Directory || last {
                self.trail.push(fd);
            } else {
                return Err(Errno::NOTDIR.into());
            }
        }
        match self.trail.pop() {
            Some(fd) => Ok(fd),
            None => open(self.root, Path::new("/"), OFlags::PATH),
        }
    }

    fn follow(&mut self, link: &OwnedFd) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = fs::readlinkat(link, c"", Vec::new())?;
        let target = std::path::PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.trail.clear();
        }
        self.push_front(&target);
        Ok(())
    }

    /// Opens one component, making it when it is missing. Never follows it.
    fn step(&self, name: &OsStr, make: Make) -> io::Result<OwnedFd> {
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..MAX_RETRIES {
            match fs::openat(self.here(), name, look, Mode::empty()) {
                Err(Errno::NOENT) => {}
                result => return Ok(result?),
            }
            let made = match make {
                Make::Directory => fs::mkdirat(self.here(), name, Mode::from_raw_mode(0o755)),
                Make::File => {
                    let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                    fs::openat(self.here(), name, new, Mode::from_raw_mode(0o644)).map(drop)
                }
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn missing_directories_are_made_inside() {
        let (dir, fd) = root();
        ensure(&fd, Path::new("/a/b/../c/file"), Make::File).unwrap();
        assert!(dir.path().join("a/c/file").is_file());
        assert!(dir.path().join("a/b").is_dir());
    }

    #[test]
    fn a_link_out_of_the_root_ends_inside() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("absolute")).unwrap();
        symlink("../../../../../../tmp", dir.path().join("relative")).unwrap();
        ensure(&fd, Path::new("/absolute/x"), Make::Directory).unwrap();
        ensure(&fd, Path::new("/relative/y"), Make::File).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(
            dir.path()
                .join(outside.path().strip_prefix("/").unwrap())
                .join("x")
                .is_dir()
        );
        assert!(dir.path().join("tmp/y").is_file());
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let (dir, fd) = root();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(ensure(&fd, Path::new("/a/x"), Make::File).is_err());
    }

    #[test]
    fn a_file_is_no_directory() {
        let (dir, fd) = root();
        std::fs::write(dir.path().join("f"), "").unwrap();
        assert!(ensure(&fd, Path::new("/f/x"), Make::File).is_err());
    }
}
