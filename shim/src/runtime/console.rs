//! The socket over which a runtime program hands over the master of a terminal.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// How long a runtime that has returned may take to send.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening socket in a private directory; both are removed with it.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    directory: PathBuf,
    path: PathBuf,
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // Best effort: the directory is private and empty otherwise.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl ConsoleSocket {
    /// Listens. Not in the bundle, whose path may be longer than a socket's may be.
    pub(super) fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!(".shim-pty-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let path = directory.join("s");
        match UnixListener::bind(&path) {
            Ok(listener) => Ok(Self {
                listener,
                directory,
                path,
            }),
            Err(e) => {
                let _ = std::fs::remove_dir(&directory);
                Err(e)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master from the runtime that has connected.
    pub(super) fn receive(self) -> io::Result<OwnedFd> {
        let wait = |fd: std::os::fd::BorrowedFd<'_>| {
            let patience = Timespec {
                tv_sec: PATIENCE.as_secs().cast_signed(),
                tv_nsec: 0,
            };
            match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&patience)) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                other => other.map_err(io::Error::from),
            }
        };
        use std::os::fd::AsFd as _;
        wait(self.listener.as_fd())?;
        let (stream, _) = self.listener.accept()?;
        wait(stream.as_fd())?;
        let mut name = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut name)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let rights = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        rights.ok_or_else(|| io::Error::other("no descriptor in the message"))
    }
}
