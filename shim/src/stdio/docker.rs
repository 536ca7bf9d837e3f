//! Docker's log with its listener: the log first, then whoever is attached.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sink::{write_rest, write_some};
use crate::log::{LogFile, Splitter};
use crate::sys;

/// The log that both streams of a process share.
pub(super) type SharedLog = Arc<Mutex<LogFile>>;

/// One stream on its way into the log and to its listener.
#[derive(Debug)]
pub(super) struct DockerSink {
    log: Option<SharedLog>,
    stream: &'static str,
    splitter: Splitter,
    fifo: Option<PathBuf>,
    listener: Option<AsyncFd<OwnedFd>>,
}

impl DockerSink {
    pub(super) fn new(log: Option<SharedLog>, stream: &'static str, fifo: Option<PathBuf>) -> Self {
        Self {
            log,
            stream,
            splitter: Splitter::default(),
            fifo,
            listener: None,
        }
    }

    /// Logs the bytes and offers them to the listener; says how many are done with.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> usize {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            self.splitter.push(bytes, |text, newline, time| {
                log.record(text, newline, self.stream, time)
            });
            log.flush();
        }
        self.find_listener();
        let Some(listener) = &self.listener else {
            return bytes.len();
        };
        match write_some(listener, bytes) {
            Ok(written) => written,
            Err(_) => {
                self.listener = None;
                bytes.len()
            }
        }
    }

    /// Waits for the listener to take the rest, or to go away.
    pub(super) async fn rest(&mut self, bytes: &[u8]) {
        if let Some(listener) = &self.listener
            && write_rest(listener, bytes).await.is_err()
        {
            self.listener = None;
        }
    }

    /// Does without the listener from now on.
    pub(super) fn forget_listener(&mut self) {
        (self.listener, self.fifo) = (None, None);
    }

    /// Opens the fifo if somebody reads it. One system call when nobody does; only made when there is something to say.
    fn find_listener(&mut self) {
        let (None, Some(path)) = (&self.listener, &self.fifo) else {
            return;
        };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        // ENXIO: nobody reads. ENOENT: there is no fifo yet.
        let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else {
            return;
        };
        let is_fifo = rustix::fs::fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_fifo {
            self.listener = sys::reactor(fd, Interest::WRITABLE).ok();
        }
    }
}

impl Drop for DockerSink {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            self.splitter
                .finish(|text, newline, time| log.record(text, newline, self.stream, time));
            log.flush();
        }
        // Opened and closed once more, so that a listener who never heard anything sees the end.
        self.find_listener();
    }
}
