//! Disk usage of a tree, each inode counted once.

use std::collections::HashSet;
use std::path::Path;

use containerd_rs_core::{Error, Result, Usage};
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::tree;

/// Blocks and inodes below a directory, and of itself. What goes away meanwhile is not counted.
///
/// # Errors
/// `Io` with the path.
pub(crate) fn of(root: &Path) -> Result<Usage> {
    measure(root).map_err(|e| Error::io(format!("measure {}", root.display()), e))
}

fn measure(root: &Path) -> rustix::io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, root, flags, Mode::empty())?;
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    add(&mut usage, &fstat(&top)?);
    tree::walk::<Errno>(&top, &mut |_, _, stat, _| {
        if tree::is_dir(stat) || stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            add(&mut usage, stat);
        }
        Ok(())
    })?;
    Ok(usage)
}

fn add(usage: &mut Usage, stat: &Stat) {
    usage.size += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    usage.inodes += 1;
}
