//! Whiteouts: names that begin with `.wh.`, by which a layer removes what lower layers have (OCI image spec, "Whiteouts").

use std::rc::Rc;

use containerd_rs_core::{Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chownat, fsetxattr, mknodat, openat};

use super::name;
use super::root::Dir;
use super::unpack::{Marks, Unpacker};
use crate::tar::Entry;
use crate::tree;

/// What whiteouts begin with.
pub(crate) const PREFIX: &[u8] = b".wh.";
/// The whiteout of all that lower layers have in the directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own bookkeeping.
const META: &[u8] = b".wh..wh.";

/// Whether a file is overlayfs' mark: a character device with the number 0:0.
pub(crate) fn is_mark(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Unpacker {
    /// Applies one whiteout.
    pub(super) fn whiteout(&mut self, entry: &Entry, dir: &Rc<Dir>, parent: &[u8], name: &[u8]) -> Result<()> {
        if name == OPAQUE {
            return self.make_opaque(dir, parent);
        }
        if name.starts_with(META) {
            return Ok(());
        }
        let hidden = &name[PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            let shown = name.escape_ascii();
            return Err(Error::InvalidArgument(format!(
                "invalid whiteout name: {shown}: invalid archive"
            )));
        }
        let path = name::join(parent, hidden);
        if self.made(&path) {
            // This layer has something of that name: the whiteout is about lower layers, which it hides already.
            return Ok(());
        }
        self.unlink(dir, hidden, &path)?;
        if let Marks::Remove = self.marks {
            return Ok(());
        }
        let made = mknodat(&**dir, Self::os(hidden), FileType::CharacterDevice, Mode::empty(), 0);
        made.map_err(|e| self.root.error("mknod", &path, e))?;
        if (entry.uid, entry.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let done = chownat(
                &**dir,
                Self::os(hidden),
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            );
            done.map_err(|e| self.root.error("chown", &path, e))?;
        }
        Ok(())
    }

    /// Hides all that is below a directory; what this layer put into it stays.
    fn make_opaque(&mut self, dir: &Rc<Dir>, path: &[u8]) -> Result<()> {
        for name in tree::names(&**dir).map_err(|e| self.root.error("readdir", path, e))? {
            let child = name::join(path, &name);
            if !self.made(&child) {
                self.unlink(dir, &name, &child)?;
            }
        }
        if let Marks::Overlay { opaque } = &self.marks {
            // The root's own descriptor may serve here too: a layer may hide all that is below it.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let own = openat(&**dir, ".", flags, Mode::empty()).map_err(|e| self.root.error("open", path, e))?;
            let done = fsetxattr(&own, opaque.as_str(), b"y", XattrFlags::empty());
            done.map_err(|e| self.root.error("setxattr", path, e))?;
        }
        Ok(())
    }

    /// Makes a directory opaque that was made in the place of a mark.
    pub(super) fn hide_below(&mut self, dir: &Rc<Dir>, name: &[u8], path: &[u8]) -> Result<()> {
        let Marks::Overlay { opaque } = &self.marks else {
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&**dir, Self::os(name), flags, Mode::empty());
        let own = opened.map_err(|e| self.root.error("open", path, e))?;
        let done = fsetxattr(&own, opaque.as_str(), b"y", XattrFlags::empty());
        done.map_err(|e| self.root.error("setxattr", path, e))
    }
}
