//! The changes that an upper directory of overlayfs holds.

use std::os::fd::{AsFd, OwnedFd};

use containerd_rs_core::{Error, Result};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::changes::{Change, sort};
use super::write::attribute;
use crate::tree;

/// All changes of a directory. `marks`: it is an overlay's, with marks in `user.` attributes or not. `None` when overlayfs
/// moved directories or kept data below, so that the directory alone does not tell.
pub(crate) fn changes(root: &OwnedFd, marks: Option<bool>) -> Result<Option<Vec<Change>>> {
    let mark = |name: &str| marks.map(|user| format!("{}.overlay.{name}", if user { "user" } else { "trusted" }));
    let (opaque, redirect, metacopy) = (mark("opaque"), mark("redirect"), mark("metacopy"));
    let has = |dir: std::os::fd::BorrowedFd<'_>, name: &[u8], wanted: &Option<String>| {
        wanted
            .as_ref()
            .and_then(|wanted| attribute(dir, name, wanted.as_bytes()))
            .is_some()
    };
    let mut found = Vec::new();
    let mut elsewhere = false;
    if has(root.as_fd(), b".", &opaque) {
        found.push(Change::Opaque(Vec::new()));
    }
    tree::walk::<Errno>(root, &mut |dir, name, stat, path| {
        if marks.is_some() && is_whiteout(stat) {
            found.push(Change::Remove(path));
            return Ok(());
        }
        if tree::is_dir(stat) {
            elsewhere |= has(dir, name, &redirect);
            if has(dir, name, &opaque) {
                found.push(Change::Opaque(path.clone()));
            }
        } else if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            elsewhere |= has(dir, name, &metacopy);
        }
        found.push(Change::Write(path));
        Ok(())
    })
    .map_err(|e| Error::io("walk the upper directory", e))?;
    sort(&mut found);
    Ok((!elsewhere).then_some(found))
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
