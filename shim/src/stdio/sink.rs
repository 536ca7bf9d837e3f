//! The ends of streams that are not the container's.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::docker::DockerSink;

/// A descriptor that does not block, in the reactor.
pub(super) type Channel = Arc<AsyncFd<OwnedFd>>;

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Nowhere.
    Null,
    /// A fifo, a pipe to the container, or a terminal.
    Channel(Channel),
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

impl Sink {
    /// Waits until it would take something.
    pub(super) async fn ready(&self) {
        if let Self::Channel(channel) = self {
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
            Self::Channel(channel) => write_some(channel, bytes),
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
            Self::Channel(channel) => write_rest(channel, bytes).await,
            Self::Docker(docker) => {
                docker.rest(bytes).await;
                Ok(())
            }
            Self::Null | Self::File { .. } => Ok(()),
        }
    }
}
