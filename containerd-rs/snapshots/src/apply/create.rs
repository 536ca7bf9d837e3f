//! Making files: each call relative to the open parent, none follows a link in the last place.
//!
//! The order matters: an owner's change takes set-id bits and capabilities away, so it comes first, and times come last.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

use containerd_rs_core::Error;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmod, chownat, fchmod,
    fchown, fsetxattr, futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::pump::Feed;
use super::root::Dir;
use crate::overlay::in_user_namespace;
use crate::tar::{Entry, Kind, TarReader};

/// Why a member was not made.
pub(crate) enum CreateError {
    /// Something is there.
    Exists,
    /// A system call failed.
    Call(&'static str, Errno),
    /// Something else, like broken data.
    Other(Error),
}

type Made<T> = Result<T, CreateError>;

fn on(call: &'static str) -> impl FnOnce(Errno) -> CreateError {
    move |e| {
        if e == Errno::EXIST {
            CreateError::Exists
        } else {
            CreateError::Call(call, e)
        }
    }
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Attributes that a layer may set. Others say something to this kernel (`trusted.overlay.*` where other layers are found) and
/// come from nobody but us.
fn may_set(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn times(mtime: (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.0,
            tv_nsec: mtime.1.into(),
        },
    }
}

/// A regular file with its data.
pub(crate) fn file(entry: &Entry, dir: &Dir, name: &[u8], umask: u32, archive: &mut TarReader<Feed>) -> Made<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, os(name), flags, Mode::from_raw_mode(entry.mode & 0o777)).map_err(on("create"))?;
    let file = File::from(fd);
    match &entry.sparse {
        None => copy(&file, 0, entry.size, archive)?,
        Some(pieces) => {
            let cut = rustix::fs::ftruncate(&file, entry.size);
            cut.map_err(|e| CreateError::Call("truncate", e))?;
            for (offset, length) in pieces {
                copy(&file, *offset, *length, archive)?;
            }
        }
    }
    finish(entry, dir, umask, file.as_fd())?;
    futimens(&file, &times(entry.mtime)).map_err(on("utimes"))
}

fn copy(file: &File, mut offset: u64, mut length: u64, archive: &mut TarReader<Feed>) -> Made<()> {
    while length > 0 {
        let data = archive.data().map_err(CreateError::Other)?;
        let n = data.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        file.write_all_at(&data[..n], offset)
            .map_err(|e| CreateError::Call("write", e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)))?;
        archive.consume(n);
        offset += n as u64;
        length -= n as u64;
    }
    Ok(())
}

/// A directory, or the one that is there.
pub(crate) fn directory(entry: &Entry, dir: &Dir, name: &[u8]) -> Made<()> {
    match mkdirat(dir, os(name), Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(CreateError::Call("mkdir", e)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match openat(dir, os(name), flags, Mode::empty()) {
        // Something else than a directory.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(CreateError::Exists),
        other => other.map_err(on("open"))?,
    };
    // What was there may have other owners than a new one would.
    chown(entry, fd.as_fd())?;
    xattrs(entry, fd.as_fd())?;
    fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(on("chmod"))
}

/// A symbolic link, device or pipe.
pub(crate) fn node(entry: &Entry, dir: &Dir, name: &[u8]) -> Made<()> {
    let kind = match entry.kind {
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        _ => {
            if entry.link.is_empty() || entry.link.contains(&0) {
                let text = "invalid symlink: its target is empty or has a NUL: invalid archive";
                return Err(CreateError::Other(Error::InvalidArgument(text.into())));
            }
            symlinkat(os(&entry.link), dir, os(name)).map_err(on("symlink"))?;
            own(entry, dir, name)?;
            link_xattrs(entry, dir, name)?;
            return set_time(dir, name, entry.mtime).map_err(on("utimes"));
        }
    };
    let device = makedev(entry.device.0, entry.device.1);
    match mknodat(dir, os(name), kind, Mode::empty(), device) {
        // Root of a user namespace makes no devices; containers get theirs from the runtime.
        Err(Errno::PERM) if kind != FileType::Fifo && in_user_namespace() => return Ok(()),
        other => other.map_err(on("mknod"))?,
    }
    own(entry, dir, name)?;
    // Through a descriptor that was not followed: a name could be a link by now.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, os(name), flags, Mode::empty()).map_err(on("open"))?;
    chmod(magic(&fd), Mode::from_raw_mode(entry.mode)).map_err(on("chmod"))?;
    set_time(dir, name, entry.mtime).map_err(on("utimes"))
}

/// Another name of a file.
pub(crate) fn link(from: &Dir, target: &[u8], dir: &Dir, name: &[u8]) -> Made<()> {
    linkat(from, os(target), dir, os(name), AtFlags::empty()).map_err(on("link"))
}

/// Sets the time of a name that may be a link.
pub(crate) fn set_time(dir: &Dir, name: &[u8], mtime: (i64, u32)) -> rustix::io::Result<()> {
    utimensat(dir, os(name), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// The path by which a descriptor can be named to calls that take none. It is our own descriptor's.
fn magic(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Owner, attributes and mode of a file that was just made. Most files are root's and have the mode they were made with.
fn finish(entry: &Entry, dir: &Dir, umask: u32, fd: BorrowedFd<'_>) -> Made<()> {
    let owned = (entry.uid, entry.gid) != (0, 0) || dir.set_gid;
    if owned {
        chown(entry, fd)?;
    }
    xattrs(entry, fd)?;
    if owned || entry.mode & (umask | 0o7000) != 0 {
        fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(on("chmod"))?;
    }
    Ok(())
}

/// What the system takes from the modes of new files. All of it when it does not say.
pub(crate) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o777)
}

fn chown(entry: &Entry, fd: BorrowedFd<'_>) -> Made<()> {
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(on("chown"))
}

fn own(entry: &Entry, dir: &Dir, name: &[u8]) -> Made<()> {
    if (entry.uid, entry.gid) == (0, 0) && !dir.set_gid {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(dir, os(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(on("chown"))
}

/// A file system without attributes does without them, as in containerd.
fn tolerate(done: rustix::io::Result<()>) -> Made<()> {
    match done {
        Err(Errno::NOTSUP) => Ok(()),
        other => other.map_err(on("setxattr")),
    }
}

fn xattrs(entry: &Entry, fd: BorrowedFd<'_>) -> Made<()> {
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| may_set(name)) {
        tolerate(fsetxattr(fd, os(name), value, XattrFlags::empty()))?;
    }
    Ok(())
}

fn link_xattrs(entry: &Entry, dir: &Dir, name: &[u8]) -> Made<()> {
    for (attribute, value) in entry.xattrs.iter().filter(|(name, _)| may_set(name)) {
        let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        match lsetxattr(os(&path), os(attribute), value, XattrFlags::empty()) {
            // Links have no attributes of users.
            Err(Errno::PERM) => {}
            other => tolerate(other)?,
        }
    }
    Ok(())
}
