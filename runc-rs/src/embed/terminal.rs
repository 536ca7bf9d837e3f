//! The caller's end of a container's pseudo terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// The master of a pseudo terminal whose other end is a container process's standard streams and controlling terminal.
///
/// Reading ends (with 0 bytes) when nobody has the other end open any more; dropping it hangs the terminal up, which is `SIGHUP` to the
/// process.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> Self {
        Self(File::from(master))
    }

    /// Sets the size, which is `SIGWINCH` to the process.
    ///
    /// # Errors
    /// The kernel's (`TIOCSWINSZ`).
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.0, size)?)
    }

    /// Rows and columns.
    ///
    /// # Errors
    /// The kernel's (`TIOCGWINSZ`).
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = tcgetwinsize(&self.0)?;
        Ok((size.ws_row, size.ws_col))
    }

    /// A second handle of the same terminal, to read in one thread and write in another.
    ///
    /// # Errors
    /// When no descriptor is to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// A terminal whose other end is closed answers EIO; that is its end.
fn end(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
        result => result,
    }
}

impl Read for Terminal {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        end(self.0.read(buffer))
    }
}

impl Write for Terminal {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Terminal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0.into()
    }
}
