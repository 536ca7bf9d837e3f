//! Changes as members of an archive, in the form in which containerd writes them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use containerd_rs_core::{Error, Result, Timestamp};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, lgetxattr, llistxattr, major, minor, openat, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::changes::{Change, on};
use super::compress::LayerSink;
use crate::tar::{Entry, Kind, TarWriter};
use crate::tree::join;

/// The value of an attribute of a name that may be a link.
pub(crate) fn attribute(dir: BorrowedFd<'_>, name: &[u8], attribute: &[u8]) -> Option<Vec<u8>> {
    let path = magic(dir, name);
    let mut value = vec![0; 256];
    loop {
        match lgetxattr(OsStr::from_bytes(&path), OsStr::from_bytes(attribute), &mut value) {
            Ok(n) => {
                value.truncate(n);
                return Some(value);
            }
            Err(Errno::RANGE) if value.len() < 65536 => value = vec![0; 65536],
            Err(_) => return None,
        }
    }
}

fn magic(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// The attributes that go into a layer: capabilities of files, and what users set.
fn attributes(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = magic(dir, name);
    let mut list = vec![0; 65536];
    let Ok(n) = llistxattr(OsStr::from_bytes(&path), &mut list) else {
        return Vec::new();
    };
    let wanted = list[..n].split(|b| *b == 0).filter(|name| {
        *name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    });
    let mut found: Vec<_> = wanted
        .filter_map(|wanted| Some((wanted.to_vec(), attribute(dir, name, wanted)?)))
        .collect();
    found.sort();
    found
}

struct Layer<'a> {
    root: &'a OwnedFd,
    archive: TarWriter<LayerSink>,
    latest: Option<Timestamp>,
    /// Files with several names, by inode: where the first one is.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// Writes all changes.
pub(crate) fn layer(
    root: &OwnedFd,
    changes: &[Change],
    latest: Option<Timestamp>,
    sink: LayerSink,
) -> Result<LayerSink> {
    let archive = TarWriter::new(sink);
    let mut layer = Layer {
        root,
        archive,
        latest,
        links: HashMap::new(),
        buffer: vec![0; 256 << 10],
    };
    let now = latest.unwrap_or_else(Timestamp::now);
    for change in changes {
        match change {
            Change::Write(path) => layer.file(path)?,
            Change::Opaque(path) => layer.whiteout(join(path, b".wh..wh..opq"), now)?,
            Change::Remove(path) => {
                let (parent, name) = split(path);
                layer.whiteout(join(parent, &[b".wh.", name].concat()), now)?;
            }
        }
    }
    layer.archive.finish().map_err(failed)
}

fn failed(e: std::io::Error) -> Error {
    Error::io("write layer", e)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let cut = path.iter().rposition(|b| *b == b'/');
    cut.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]))
}

impl Layer<'_> {
    fn whiteout(&mut self, path: Vec<u8>, now: Timestamp) -> Result<()> {
        let entry = Entry {
            kind: Kind::File,
            path,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (now.seconds, 0),
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        };
        self.archive.header(&entry).map_err(failed)
    }

    /// The directory of a path, links on the way refused: the tree may be a running container's.
    fn parent(&self, path: &[u8]) -> Result<OwnedFd> {
        let parent = if path.is_empty() { &b"."[..] } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = openat2(self.root, OsStr::from_bytes(parent), flags, Mode::empty(), resolve);
        opened.map_err(|e| on("open", path, e))
    }

    fn file(&mut self, path: &[u8]) -> Result<()> {
        let (parent, name) = split(path);
        let dir = self.parent(parent)?;
        let os = OsStr::from_bytes(name);
        let mut stat = match statat(&dir, os, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed since it was found.
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|e| on("stat", path, e))?,
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            // Sockets belong to processes.
            _ => return Ok(()),
        };
        let mut data = None;
        if kind == Kind::File {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd = openat(&dir, os, flags, Mode::empty()).map_err(|e| on("open", path, e))?;
            stat = fstat(&fd).map_err(|e| on("stat", path, e))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Error::Aborted(format!(
                    "/{} changed while it was read",
                    path.escape_ascii()
                )));
            }
            data = Some(File::from(fd));
        }
        let mut entry = self.entry(kind, path, &stat);
        if kind == Kind::Symlink {
            let target = readlinkat(&dir, os, Vec::new()).map_err(|e| on("readlink", path, e))?;
            entry.link = target.into_bytes();
        }
        if kind != Kind::Directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                return self.archive.header(&entry).map_err(failed);
            }
            self.links.insert(key, path.to_vec());
        }
        use std::os::fd::AsFd as _;
        entry.xattrs = attributes(dir.as_fd(), name);
        self.archive.header(&entry).map_err(failed)?;
        if let Some(file) = data {
            self.copy(file, entry.size, path)?;
        }
        Ok(())
    }

    fn entry(&self, kind: Kind, path: &[u8], stat: &Stat) -> Entry {
        let mut path = path.to_vec();
        if kind == Kind::Directory {
            path.push(b'/');
        }
        let seconds = self
            .latest
            .map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest.seconds));
        Entry {
            kind,
            path,
            link: Vec::new(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (seconds, 0),
            size: if kind == Kind::File {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                0
            },
            device: (major(stat.st_rdev), minor(stat.st_rdev)),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// Copies exactly the bytes that the header told: what a running container adds is cut, what it takes away is zeros.
    fn copy(&mut self, mut file: File, size: u64, path: &[u8]) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = match file.read(&mut self.buffer[..want]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(format!("read /{}", path.escape_ascii()), e)),
                Ok(0) => {
                    self.buffer[..want].fill(0);
                    want
                }
                Ok(n) => n,
            };
            self.archive.data(&self.buffer[..n]).map_err(failed)?;
            left -= n as u64;
        }
        self.archive.pad(size).map_err(failed)
    }
}
