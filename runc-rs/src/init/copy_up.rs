//! `tmpcopyup`: what the image has at the destination is copied into the new tmpfs before it covers it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::fail::{Fail, Step};

/// Directories deeper than this are an error: the walk is recursive.
const MAX_DEPTH: u32 = 256;

/// Copies the contents of the directory `from` into `to`, with owners and modes. Special files other than links are left out.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Fail> {
    let kind = fs::fstat(&from).step(|| "stat of the destination")?;
    if FileType::from_raw_mode(kind.st_mode) != FileType::Directory {
        return Err(Fail::new("tmpcopyup: the destination is not a directory"));
    }
    copy_directory(from.as_fd(), to.as_fd(), 0).step(|| "tmpcopyup: failed to copy")
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP.into());
    }
    let listed = fs::openat(
        from,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in Dir::read_from(&listed)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                fs::mkdirat(to, name, mode)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner_from = fs::openat(from, name, flags, Mode::empty())?;
                let inner_to = fs::openat(to, name, flags, Mode::empty())?;
                copy_directory(inner_from.as_fd(), inner_to.as_fd(), depth + 1)?;
                own(&inner_to, &stat)?;
            }
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = fs::openat(from, name, read, Mode::empty())?;
                // Not what was seen, if somebody renames beside us: a device would never end.
                if FileType::from_raw_mode(fs::fstat(&source)?.st_mode) != FileType::RegularFile {
                    return Err(Errno::AGAIN.into());
                }
                let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let target = fs::openat(to, name, write, mode)?;
                io::copy(
                    &mut std::fs::File::from(source),
                    &mut std::fs::File::from(target.try_clone()?),
                )?;
                own(&target, &stat)?;
            }
            FileType::Symlink => {
                let link = fs::readlinkat(from, name, Vec::new())?;
                fs::symlinkat(link, to, name)?;
                fs::chownat(
                    to,
                    name,
                    Some(Uid::from_raw(stat.st_uid)),
                    Some(Gid::from_raw(stat.st_gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Owner first: a change of owner takes away set-user-id bits.
fn own(target: &OwnedFd, stat: &Stat) -> io::Result<()> {
    fs::fchown(
        target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(())
}
