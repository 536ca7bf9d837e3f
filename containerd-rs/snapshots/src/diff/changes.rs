//! What changed, and the comparison of two trees that finds it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use containerd_rs_core::{Error, Result};
use rustix::fs::{FileType, Stat, readlinkat};
use rustix::io::Errno;

use crate::tree::{self, Descent};

/// A change, in the order in which a layer has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Everything below this directory is hidden (the path of the directory, empty for the root).
    Opaque(Vec<u8>),
    /// Added or changed, to be written as it is in the upper tree.
    Write(Vec<u8>),
    /// Removed.
    Remove(Vec<u8>),
}

pub(crate) fn on(call: &str, path: &[u8], e: Errno) -> Error {
    Error::io(format!("{call} /{}", path.escape_ascii()), e)
}

/// The changes that make the upper tree from the lower one; no lower tree is an empty one. Directories on the way to a
/// change are written too, so that they keep their attributes.
pub(crate) fn between(lower: Option<&OwnedFd>, upper: &OwnedFd) -> Result<Vec<Change>> {
    Comparison::new(lower, upper)
        .and_then(Comparison::run)
        .map_err(|e| Error::io("compare two trees", e))
}

/// A directory on the way.
struct Level {
    /// How long its path is.
    length: usize,
    /// Whether the lower tree has it too.
    both: bool,
    /// Directories to be gone into, and whether the lower tree has them.
    inner: Vec<(Vec<u8>, bool)>,
}

/// A walk through two trees side by side.
struct Comparison {
    upper: Descent,
    lower: Option<Descent>,
    path: Vec<u8>,
    found: Vec<Change>,
}

impl Comparison {
    fn new(lower: Option<&OwnedFd>, upper: &OwnedFd) -> rustix::io::Result<Self> {
        let lower = lower.map(Descent::new).transpose()?;
        Ok(Comparison {
            upper: Descent::new(upper)?,
            lower,
            path: Vec::new(),
            found: Vec::new(),
        })
    }

    fn run(mut self) -> rustix::io::Result<Vec<Change>> {
        let mut levels = vec![self.level(self.lower.is_some())?];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            let Some((name, both)) = level.inner.pop() else {
                let done = levels.pop();
                if !levels.is_empty() {
                    self.upper.up()?;
                    if let (Some(lower), Some(Level { both: true, .. })) = (&mut self.lower, done) {
                        lower.up()?;
                    }
                }
                continue;
            };
            self.upper.down(&name)?;
            if let (Some(lower), true) = (&mut self.lower, both) {
                lower.down(&name)?;
            }
            self.path = tree::join(&self.path, &name);
            levels.push(self.level(both)?);
        }
        Ok(with_parents(self.found))
    }

    /// Compares what is in one directory.
    fn level(&mut self, both: bool) -> rustix::io::Result<Level> {
        let lower = self.lower.as_ref().filter(|_| both);
        let above = tree::entries(self.upper.dir())?;
        let mut below: BTreeMap<_, _> = lower
            .map_or_else(|| Ok(Vec::new()), |lower| tree::entries(lower.dir()))?
            .into_iter()
            .collect();
        let mut inner = Vec::new();
        for (name, stat) in above {
            let old = below.remove(&name);
            let changed = match (&old, lower) {
                (Some(old), Some(lower)) => differs(lower.dir(), self.upper.dir(), &name, old, &stat)?,
                _ => true,
            };
            if changed {
                self.found.push(Change::Write(tree::join(&self.path, &name)));
            }
            if tree::is_dir(&stat) {
                inner.push((name, old.is_some_and(|old| tree::is_dir(&old))));
            }
        }
        let path = &self.path;
        self.found
            .extend(below.into_keys().map(|name| Change::Remove(tree::join(path, &name))));
        Ok(Level {
            length: self.path.len(),
            both,
            inner,
        })
    }
}

/// Adds the directories on the way to each change, and sorts.
fn with_parents(found: Vec<Change>) -> Vec<Change> {
    let mut all: std::collections::BTreeSet<Change> = std::collections::BTreeSet::new();
    for change in found {
        let (Change::Write(path) | Change::Remove(path) | Change::Opaque(path)) = &change;
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        all.extend(slashes.map(|(at, _)| Change::Write(path[..at].to_vec())));
        all.insert(change);
    }
    let mut all: Vec<_> = all.into_iter().collect();
    sort(&mut all);
    all
}

/// By directory: first what is hidden or removed in it, then what is written, each directory before what is in it.
pub(crate) fn sort(changes: &mut [Change]) {
    changes.sort_by_cached_key(|change| {
        let (rank, path) = match change {
            Change::Opaque(path) => (0, tree::join(path, b"")),
            Change::Remove(path) => (1, path.clone()),
            Change::Write(path) => (2, path.clone()),
        };
        let parent = path
            .iter()
            .rposition(|b| *b == b'/')
            .map_or_else(Vec::new, |at| path[..at].to_vec());
        let parts = |path: &[u8]| path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        // A removal comes right behind its directory, before all that is written in it.
        if rank == 2 {
            (parts(&path), 0, path)
        } else {
            (parts(&parent), 1 + rank, path)
        }
    });
}

/// Whether a name is another thing in the upper tree. The data of files is not read: size and time tell.
fn differs(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    name: &[u8],
    old: &Stat,
    new: &Stat,
) -> rustix::io::Result<bool> {
    let facts = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    let capability = |dir| super::write::attribute(dir, name, b"security.capability");
    if facts(old) != facts(new) || capability(lower) != capability(upper) {
        return Ok(true);
    }
    match FileType::from_raw_mode(new.st_mode) {
        FileType::Symlink => {
            let target = |dir| readlinkat(dir, OsStr::from_bytes(name), Vec::new());
            Ok(target(lower)? != target(upper)?)
        }
        FileType::RegularFile => {
            let facts = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
            Ok(facts(old) != facts(new))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_in_an_order_that_can_be_applied() {
        let write = |path: &str| Change::Write(path.as_bytes().to_vec());
        let remove = |path: &str| Change::Remove(path.as_bytes().to_vec());
        let changes = with_parents(vec![
            write("b/c/d"),
            remove("b/a"),
            write("a"),
            write("b.x"),
            remove("z"),
        ]);
        let mut opaque = changes.clone();
        opaque.push(Change::Opaque(b"b".to_vec()));
        sort(&mut opaque);
        let order = [
            remove("z"),
            write("a"),
            write("b"),
            Change::Opaque(b"b".to_vec()),
            remove("b/a"),
            write("b/c"),
            write("b/c/d"),
            write("b.x"),
        ];
        assert_eq!(opaque, order);
    }
}
