//! The pseudo terminal of a container process: made in the container's own devpts, its slave got from the master by descriptor
//! (`TIOCGPTPEER`), so that no name in a directory of the container is trusted (CVE-2025-52565).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::fail::{Fail, Step};
use super::mount::is_on;
use crate::inroot;
use crate::sys::process;

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// A new pseudo terminal of the devpts at `/dev/pts` beneath `root`.
pub(crate) fn open(root: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Pty, Fail> {
    let look = OFlags::PATH | OFlags::DIRECTORY;
    let devpts = inroot::open_no_links(root, Path::new("/dev/pts"), look).step(|| "open /dev/pts")?;
    // Looked at before anything in it is opened: to open a device of the image's choice may be an act by itself.
    if !is_on(&devpts, DEVPTS_MAGIC).step(|| "statfs of /dev/pts")? {
        return Err(Fail::new("/dev/pts is not the container's devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let master = fs::openat2(&devpts, c"ptmx", flags, Mode::empty(), how).step(|| "open /dev/pts/ptmx")?;
    let stat = fs::fstat(&master).step(|| "stat of /dev/pts/ptmx")?;
    let real = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == fs::makedev(5, 2);
    if !real {
        return Err(Fail::new("/dev/pts/ptmx is not the pseudo terminal multiplexer"));
    }
    unlockpt(&master).step(|| "unlock the pseudo terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).step(|| "open the terminal's other end")?;
    if let Some((rows, columns)) = size {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).step(|| "set the terminal's size")?;
    }
    Ok(Pty { master, slave })
}

/// Makes the slave the standard streams and the controlling terminal of the calling session leader.
pub(crate) fn take_over(slave: &OwnedFd, uid: u32) -> Result<(), Fail> {
    if uid != 0 {
        fs::fchown(slave, Some(Uid::from_raw(uid)), None::<Gid>).step(|| "chown of the console")?;
    }
    process::set_controlling_terminal(slave).step(|| "setctty")?;
    for target in 0..=2 {
        process::dup_to(slave, target).step(|| "dup of the console")?;
    }
    Ok(())
}
