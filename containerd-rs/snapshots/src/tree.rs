//! Walking trees that somebody else made: of any depth and width, with two descriptors and no recursion.
//!
//! A container can nest directories deeper than a path may be long, a stack may be high or a process may have files open.
//! Going down opens a name; going up opens `..`, and checks that it is where we came from.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, Result};

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A place in a tree, and the way back up.
pub(crate) struct Descent {
    at: OwnedFd,
    above: Vec<(u64, u64)>,
}

impl Descent {
    /// Begins at a directory, with a descriptor of its own.
    pub(crate) fn new(dir: impl AsFd) -> Result<Self> {
        Ok(Descent {
            at: openat(dir, ".", FLAGS, Mode::empty())?,
            above: Vec::new(),
        })
    }

    /// The directory we are in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.at.as_fd()
    }

    /// Goes into a directory; a link is none.
    pub(crate) fn down(&mut self, name: &[u8]) -> Result<()> {
        let deeper = openat(&self.at, OsStr::from_bytes(name), FLAGS, Mode::empty())?;
        let here = fstat(&self.at)?;
        self.above.push((here.st_dev, here.st_ino));
        self.at = deeper;
        Ok(())
    }

    /// Goes back. `STALE` when somebody moved the directory meanwhile.
    pub(crate) fn up(&mut self) -> Result<()> {
        let above = openat(&self.at, "..", FLAGS, Mode::empty())?;
        let stat = fstat(&above)?;
        if self.above.pop() != Some((stat.st_dev, stat.st_ino)) {
            return Err(Errno::STALE);
        }
        self.at = above;
        Ok(())
    }
}

/// The names in a directory.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            found.push(name.to_vec());
        }
    }
    Ok(found)
}

/// The names in a directory with what they are, sorted; what goes away meanwhile is left out.
pub(crate) fn entries(dir: impl AsFd) -> Result<Vec<(Vec<u8>, Stat)>> {
    let mut found = Vec::new();
    for name in names(dir.as_fd())? {
        match statat(dir.as_fd(), OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => found.push((name, stat)),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Whether it is a directory.
pub(crate) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What a walk calls: with the directory, the name in it, what it is, and the path from the top.
type Visit<'a, E> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8], &Stat, Vec<u8>) -> std::result::Result<(), E>;

/// Calls with everything below a directory, each with its path; a directory before what is in it.
pub(crate) fn walk<E: From<Errno>>(top: impl AsFd, each: Visit<'_, E>) -> std::result::Result<(), E> {
    let mut place = Descent::new(top)?;
    let mut path: Vec<u8> = Vec::new();
    // Of each directory on the way: how long its path is, and what is still to be gone into.
    let mut open: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
    loop {
        let mut inner = Vec::new();
        for (name, stat) in entries(place.dir())? {
            each(place.dir(), &name, &stat, join(&path, &name))?;
            if is_dir(&stat) {
                inner.push(name);
            }
        }
        inner.reverse();
        open.push((path.len(), inner));
        loop {
            let Some((length, inner)) = open.last_mut() else {
                return Ok(());
            };
            path.truncate(*length);
            if let Some(name) = inner.pop() {
                match place.down(&name) {
                    // Removed or replaced while we look.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                    other => other?,
                }
                path = join(&path, &name);
                break;
            }
            open.pop();
            if !open.is_empty() {
                place.up()?;
            }
        }
    }
}

/// A path and a name in it.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

/// Removes a name and, of a directory, all below it. Links are removed, not followed.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let os = OsStr::from_bytes;
    match unlinkat(dir, os(name), AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    let mut place = Descent::new(openat(dir, os(name), FLAGS, Mode::empty())?)?;
    let mut open: Vec<(Vec<u8>, Vec<Vec<u8>>)> = vec![(name.to_vec(), empty(place.dir())?)];
    while let Some((_, inner)) = open.last_mut() {
        if let Some(name) = inner.pop() {
            place.down(&name)?;
            let inner = empty(place.dir())?;
            open.push((name, inner));
            continue;
        }
        let Some((name, _)) = open.pop() else { break };
        if open.is_empty() {
            unlinkat(dir, os(&name), AtFlags::REMOVEDIR)?;
        } else {
            place.up()?;
            unlinkat(place.dir(), os(&name), AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Removes all but directories; their names.
fn empty(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for name in names(dir)? {
        match unlinkat(dir, OsStr::from_bytes(&name), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => directories.push(name),
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, mkdirat};

    use super::*;

    /// Deeper than a path may be long (4096 bytes).
    #[test]
    fn a_tree_of_any_depth_is_walked_and_removed() {
        let top = tempfile::tempdir().unwrap();
        let root = openat(CWD, top.path(), FLAGS, Mode::empty()).unwrap();
        let mut place = Descent::new(&root).unwrap();
        for _ in 0..5_000 {
            mkdirat(place.dir(), "d", Mode::from_raw_mode(0o755)).unwrap();
            place.down(b"d").unwrap();
        }
        let mut count = 0;
        walk::<Errno>(&root, &mut |_, _, _, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 5_000);
        remove(root.as_fd(), b"d").unwrap();
        assert!(names(&root).unwrap().is_empty());
    }
}
