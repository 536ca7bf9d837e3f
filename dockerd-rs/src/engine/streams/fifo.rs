//! Fifos between daemon and shim.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::net::unix::pipe;

use super::failed;
use crate::error::Result;

/// Bytes a fifo holds; more than the kernel's 64 KiB saves turns of the copy, and 1 MiB is what an unprivileged process may ask for.
const CAPACITY: usize = 256 << 10;
/// `ENXIO`: nobody reads.
const NOBODY: i32 = 6;

/// Makes a directory that only the daemon enters.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed("mkdir", path, e))
}

/// Makes a fifo; one that is there is used again.
pub(super) fn make(path: &Path) -> Result<()> {
    match mkfifoat(CWD, path, Mode::from_raw_mode(0o600)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(failed("mkfifo", path, e)),
    }
}

/// Opens the reading end; does not wait for a writer.
pub(super) fn open_read(path: &Path) -> Result<pipe::Receiver> {
    let receiver = pipe::OpenOptions::new()
        .open_receiver(path)
        .map_err(|e| failed("open", path, e))?;
    // A smaller fifo works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&receiver, CAPACITY);
    Ok(receiver)
}

/// Opens the writing end, once the shim reads. The caller knows that it will, or gives up by dropping this.
pub(super) async fn open_write(path: &Path) -> io::Result<pipe::Sender> {
    let mut pause = Duration::from_micros(200);
    for _ in 0..60 {
        match pipe::OpenOptions::new().open_sender(path) {
            Err(e) if e.raw_os_error() == Some(NOBODY) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            other => return other,
        }
    }
    Err(io::ErrorKind::BrokenPipe.into())
}
