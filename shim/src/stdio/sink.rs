//! The ends of streams that are not the container's.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::docker::DockerSink;

/// A descriptor that does not block, in the reactor.
pub(super) type Channel = Arc<AsyncFd<OwnedFd>>;

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Nowhere.
    Null,
    /// A pipe to the container, or a terminal.
    Channel(Channel),
    /// A fifo that somebody reads, or will.
    Fifo(Fifo),
    /// A file.
    File {
        /// Open for appending.
        file: File,
        /// Whether the last write failed.
        failing: bool,
    },
    /// Docker's log and listener.
    Docker(Box<DockerSink>),
}

/// Writes without waiting. `Ok(0)`: nothing fits now.
pub(super) fn write_some(channel: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::retry_on_intr(|| rustix::io::write(channel.get_ref(), bytes)) {
        Err(Errno::AGAIN) => Ok(0),
        other => other.map_err(io::Error::from),
    }
}

/// Writes all of it, waiting where it must.
pub(super) async fn write_rest(channel: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = channel
            .async_io(Interest::WRITABLE, |fd| {
                rustix::io::write(fd, bytes).map_err(io::Error::from)
            })
            .await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Ends of fifos that are kept open although their stream has ended: what they hold was not read yet, and there is nobody to read it. It would be
/// gone with the last descriptor.
#[derive(Debug, Clone, Default)]
pub(super) struct Lingering(Arc<Mutex<Vec<AbortHandle>>>);

impl Lingering {
    /// Gives them up.
    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A fifo that is written to. The shim is a reader of it too, so that it outlives its other readers.
#[derive(Debug)]
pub(super) struct Fifo {
    pub(super) channel: Channel,
    pub(super) lingering: Lingering,
}

impl Drop for Fifo {
    /// Closes it if it is empty; else when it has a reader, who then sees the end after the last byte.
    fn drop(&mut self) {
        let empty = rustix::io::ioctl_fionread(self.channel.get_ref()).is_ok_and(|unread| unread == 0);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if empty {
            return;
        }
        let path = format!("/proc/self/fd/{}", self.channel.get_ref().as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(writing_end) = rustix::fs::open(path, flags, Mode::empty()) else {
            return;
        };
        // Runs after this descriptor, by which we are a reader, is closed.
        let task = runtime.spawn(async move {
            while is_forsaken(&writing_end) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut tasks = self.lingering.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task.abort_handle());
    }
}

/// Whether nobody reads.
fn is_forsaken(fifo: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(fifo, PollFlags::empty())];
    poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0) && polled[0].revents().contains(PollFlags::ERR)
}

impl Sink {
    /// Waits until it would take something.
    pub(super) async fn ready(&self) {
        if let Self::Channel(channel) | Self::Fifo(Fifo { channel, .. }) = self {
            // An error shows at the write.
            let _ = channel.writable().await.map(|mut guard| guard.retain_ready());
        }
    }

    /// Takes bytes without waiting; says how many. The rest is for [`Self::rest`].
    ///
    /// # Errors
    /// When nobody will ever read.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Null => Ok(bytes.len()),
            Self::Channel(channel) | Self::Fifo(Fifo { channel, .. }) => write_some(channel, bytes),
            Self::File { file, failing } => {
                match file.write_all(bytes) {
                    Ok(()) => *failing = false,
                    Err(error) => {
                        if !std::mem::replace(failing, true) {
                            tracing::error!(%error, "write output file: output is lost");
                        }
                    }
                }
                Ok(bytes.len())
            }
            Self::Docker(docker) => Ok(docker.offer(bytes)),
        }
    }

    /// Takes what [`Self::offer`] left.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub(super) async fn rest(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Channel(channel) | Self::Fifo(Fifo { channel, .. }) => write_rest(channel, bytes).await,
            Self::Docker(docker) => {
                docker.rest(bytes).await;
                Ok(())
            }
            Self::Null | Self::File { .. } => Ok(()),
        }
    }
}
