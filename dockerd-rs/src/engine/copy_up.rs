//! Copies what an image has at a volume's place into the empty volume: every entry by descriptor, no path followed twice.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::fs::{chownat, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat};

/// What was copied already, by device and inode, for hard links: the path from the volume's root.
type Seen = HashMap<(u64, u64), Vec<u8>>;

/// Copies the content, the mode and the owner of one directory to another.
///
/// # Errors
/// The system's, with no word on the path: the caller knows volume and destination.
pub(crate) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    copy_directory(from, to, to, &mut Vec::new(), &mut Seen::new())?;
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(())
}

fn copy_directory(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    seen: &mut Seen,
) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let length = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        copy_entry(from, to, root, name, path, seen)?;
        path.truncate(length);
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    name: &CStr,
    path: &mut Vec<u8>,
    seen: &mut Seen,
) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::Directory && stat.st_nlink > 1 {
        if let Some(first) = seen.get(&(stat.st_dev, stat.st_ino)) {
            linkat(root, first.as_slice(), to, name, AtFlags::empty())?;
            return Ok(());
        }
        seen.insert((stat.st_dev, stat.st_ino), path.clone());
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (inner_from, inner_to) = (
                openat(from, name, flags, Mode::empty())?,
                openat(to, name, flags, Mode::empty())?,
            );
            copy_directory(inner_from.as_fd(), inner_to.as_fd(), root, path, seen)?;
            attributes(to, name, &stat)?;
            rustix::fs::fchmod(&inner_to, mode)?;
            times(to, name, &stat)
        }
        FileType::RegularFile => {
            let source = openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let target = openat(
                to,
                name,
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
                Mode::RUSR | Mode::WUSR,
            )?;
            let (mut source, mut target) = (File::from(source), File::from(target));
            io::copy(&mut source, &mut target)?;
            attributes(to, name, &stat)?;
            rustix::fs::fchmod(&target, mode)?;
            times(to, name, &stat)
        }
        FileType::Symlink => {
            let link = readlinkat(from, name, Vec::new())?;
            symlinkat(link.as_c_str(), to, name)?;
            attributes(to, name, &stat)?;
            times(to, name, &stat)
        }
        _ => {
            mknodat(to, name, kind, mode, stat.st_rdev)?;
            attributes(to, name, &stat)
        }
    }
}

/// Owner first: a change of owner takes set-user-id bits away, which the mode then puts back.
fn attributes(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    Ok(chownat(
        to,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn times(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let time = |seconds: i64, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn files_links_and_modes_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "text").unwrap();
        std::fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("hard")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("soft")).unwrap();
        copy_up(File::open(&from).unwrap().as_fd(), File::open(&to).unwrap().as_fd()).unwrap();
        let file = std::fs::metadata(to.join("sub/file")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.nlink()), (0o4750, 2));
        assert_eq!(std::fs::read_to_string(to.join("hard")).unwrap(), "text");
        assert_eq!(
            std::fs::read_link(to.join("soft")).unwrap(),
            std::path::Path::new("/etc/passwd")
        );
    }
}
