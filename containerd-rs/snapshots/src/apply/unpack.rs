//! The members of a layer, one after the other.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use containerd_rs_core::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchown, mkdirat, openat, statat};
use rustix::io::Errno;

use super::create::{self, CreateError};
use super::name::{self, Place};
use super::pump::Feed;
use super::root::{Dir, Root};
use super::whiteout;
use crate::tar::{Entry, Kind, TarReader};
use crate::tree;

/// What a whiteout becomes.
pub(crate) enum Marks {
    /// What it names is removed: there is no layer below.
    Remove,
    /// overlayfs' own mark.
    Overlay {
        /// The attribute of directories that hide what is below them.
        opaque: String,
    },
}

/// The state of unpacking one layer.
pub(crate) struct Unpacker {
    pub(super) root: Root,
    lower: Vec<Root>,
    pub(super) marks: Marks,
    /// Hashes of the paths that this layer made; whiteouts are about other layers' files.
    made: HashSet<u64>,
    hasher: RandomState,
    /// Times of directories, to be set when nothing is made in them any more.
    times: Vec<(Vec<u8>, (i64, u32))>,
    umask: u32,
}

impl Unpacker {
    pub(crate) fn new(root: Root, lower: Vec<Root>, marks: Marks) -> Self {
        let (made, times) = (HashSet::new(), Vec::new());
        Unpacker {
            root,
            lower,
            marks,
            made,
            hasher: RandomState::new(),
            times,
            umask: create::umask(),
        }
    }

    /// Unpacks all of a stream, and reads it to its end.
    pub(crate) fn run(&mut self, feed: Feed) -> Result<Feed> {
        let mut archive = TarReader::new(feed);
        while let Some(entry) = archive.next()? {
            self.entry(&entry, &mut archive)
                .map_err(|e| e.context(format!("failed to extract \"{}\"", entry.path.escape_ascii())))?;
        }
        let feed = archive.finish()?;
        self.set_times()?;
        Ok(feed)
    }

    fn entry(&mut self, entry: &Entry, archive: &mut TarReader<Feed>) -> Result<()> {
        let Some(Place { parent, name }) = name::place(&entry.path)? else {
            // The root itself has the owner and mode that the snapshotter gave it, as in containerd.
            return Ok(());
        };
        let dir = self.parent(&parent)?;
        if name.starts_with(whiteout::PREFIX) {
            return self.whiteout(entry, &dir, &parent, name);
        }
        let path = name::join(&parent, name);
        let made = match self.create(entry, &dir, name, &path, archive) {
            Err(CreateError::Exists) => {
                self.replace(entry, &dir, name, &path)?;
                self.create(entry, &dir, name, &path, archive)
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(CreateError::Exists) => return Err(self.root.error("create", &path, Errno::EXIST)),
            Err(CreateError::Call(call, e)) => return Err(self.root.error(call, &path, e)),
            Err(CreateError::Other(error)) => return Err(error),
        }
        self.remember(&path);
        if entry.kind == Kind::Directory {
            self.times.push((path, entry.mtime));
        }
        Ok(())
    }

    fn create(
        &mut self,
        entry: &Entry,
        dir: &Rc<Dir>,
        name: &[u8],
        path: &[u8],
        archive: &mut TarReader<Feed>,
    ) -> std::result::Result<(), CreateError> {
        match entry.kind {
            Kind::File => create::file(entry, dir, name, self.umask, archive),
            Kind::Directory => {
                create::directory(entry, dir, name)?;
                Ok(())
            }
            Kind::HardLink => self.hard_link(entry, dir, name, path),
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => create::node(entry, dir, name),
        }
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        dir: &Rc<Dir>,
        name: &[u8],
        path: &[u8],
    ) -> std::result::Result<(), CreateError> {
        let shown = || format!("\"{}\" -> \"{}\"", path.escape_ascii(), entry.link.escape_ascii());
        let invalid = || Error::InvalidArgument(format!("invalid hardlink {}: invalid archive", shown()));
        let place = name::place(&entry.link).map_err(|_| CreateError::Other(invalid()))?;
        let target = place.ok_or_else(|| CreateError::Other(invalid()))?;
        if name::join(&target.parent, target.name) == path {
            // A link to itself: its file is there already, and must not be replaced by nothing.
            return Ok(());
        }
        let from = self.root.dir(&target.parent).map_err(CreateError::Other)?;
        let from = from.ok_or(CreateError::Call("link", Errno::NOENT))?;
        create::link(&from, target.name, dir, name)
    }

    pub(super) fn remember(&mut self, path: &[u8]) {
        self.made.insert(self.hasher.hash_one(path));
    }

    /// Whether this layer made a path.
    pub(super) fn made(&self, path: &[u8]) -> bool {
        self.made.contains(&self.hasher.hash_one(path))
    }

    /// Makes place for a member: what is there goes, but a directory stays for a directory.
    fn replace(&mut self, entry: &Entry, dir: &Rc<Dir>, name: &[u8], path: &[u8]) -> Result<()> {
        let stat = match statat(&**dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|e| self.root.error("stat", path, e))?,
        };
        if entry.kind == Kind::HardLink && self.same_file(entry, &stat)? {
            // Both names are one file already; linking again would first remove the only other name.
            return self.unlink(dir, name, path);
        }
        let hidden = whiteout::is_mark(&stat);
        self.unlink(dir, name, path)?;
        if hidden && entry.kind == Kind::Directory {
            // Below is something that this layer removed first: the new directory must not show it.
            create::directory(entry, dir, name).map_err(|e| self.explain(e, path))?;
            self.hide_below(dir, name, path)?;
        }
        Ok(())
    }

    fn same_file(&mut self, entry: &Entry, stat: &rustix::fs::Stat) -> Result<bool> {
        let Ok(Some(target)) = name::place(&entry.link) else {
            return Ok(false);
        };
        let Some(from) = self.root.dir(&target.parent)? else {
            return Ok(false);
        };
        let other = statat(&*from, target.name, AtFlags::SYMLINK_NOFOLLOW);
        Ok(other.is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino) && stat.st_nlink > 1))
    }

    pub(super) fn explain(&self, error: CreateError, path: &[u8]) -> Error {
        match error {
            CreateError::Exists => self.root.error("create", path, Errno::EXIST),
            CreateError::Call(call, e) => self.root.error(call, path, e),
            CreateError::Other(error) => error,
        }
    }

    /// Removes a name with all below it; links are not followed.
    pub(super) fn unlink(&mut self, dir: &Rc<Dir>, name: &[u8], path: &[u8]) -> Result<()> {
        // A directory or a link to one may be held open under this path.
        self.root.forget();
        match tree::remove(dir.as_fd(), name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.root.error("remove", path, e)),
        }
    }

    /// The directory of a member; made when the archive does not have it, as it is in the layers below.
    fn parent(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some(dir) = self.root.dir(path)? {
            return Ok(dir);
        }
        let cut = path.iter().rposition(|b| *b == b'/');
        let (above, name) = cut.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let above = self.parent(above)?;
        match mkdirat(&*above, name, Mode::from_raw_mode(0o755)) {
            // A link to nowhere, or a mark of ours: no directory can be there then.
            Err(Errno::EXIST) => self.clear(&above, name, path)?,
            other => other.map_err(|e| self.root.error("mkdir", path, e))?,
        }
        self.remember(path);
        self.like_below(&above, name, path)?;
        self.root
            .dir(path)?
            .ok_or_else(|| self.root.error("open", path, Errno::NOENT))
    }

    /// A parent that is no directory: a mark gives way, anything else is the archive's fault.
    fn clear(&mut self, above: &Rc<Dir>, name: &[u8], path: &[u8]) -> Result<()> {
        let stat = statat(&**above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.root.error("stat", path, e))?;
        if !whiteout::is_mark(&stat) {
            let shown = path.escape_ascii();
            return Err(Error::InvalidArgument(format!(
                "mkparent /{shown}: not a directory: invalid archive"
            )));
        }
        self.unlink(above, name, path)?;
        let mode = Mode::from_raw_mode(0o755);
        mkdirat(&**above, name, mode).map_err(|e| self.root.error("mkdir", path, e))?;
        self.hide_below(above, name, path)
    }

    /// Gives a directory made here the owner and mode of the one that it covers.
    fn like_below(&mut self, above: &Rc<Dir>, name: &[u8], path: &[u8]) -> Result<()> {
        for index in 0..self.lower.len() {
            // A layer that has no directory there says nothing; the next one may.
            let Ok(Some(there)) = self.lower[index].dir(path) else {
                continue;
            };
            let stat = rustix::fs::fstat(&*there).map_err(|e| self.lower[index].error("stat", path, e))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(&**above, name, flags, Mode::empty()).map_err(|e| self.root.error("open", path, e))?;
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(stat.st_uid),
                rustix::fs::Gid::from_raw(stat.st_gid),
            );
            fchown(&made, Some(uid), Some(gid)).map_err(|e| self.root.error("chown", path, e))?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::fchmod(&made, mode).map_err(|e| self.root.error("chmod", path, e))?;
            self.times.push((
                path.to_vec(),
                (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ));
            return Ok(());
        }
        Ok(())
    }

    fn set_times(&mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            let Some(Place { parent, name }) = name::place(&path)? else {
                continue;
            };
            let Some(dir) = self.root.dir(&parent)? else { continue };
            // It may have been replaced since.
            let stat = statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
                create::set_time(&dir, name, mtime).map_err(|e| self.root.error("utimes", &path, e))?;
            }
        }
        Ok(())
    }

    /// The name as the system's strings have it.
    pub(super) fn os(name: &[u8]) -> &std::ffi::OsStr {
        std::ffi::OsStr::from_bytes(name)
    }
}
