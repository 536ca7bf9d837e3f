//! A process of a container, as its parent sees it.

use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::stdio::Ends;
use super::terminal::Terminal;
use crate::{Created, Error};

/// A process of a container: its first one, or one by [`Container::exec`](crate::Container::exec). It is a child of this program.
///
/// # Who reaps
///
/// The holder of this handle, by one of the `wait` methods. They wait by pidfd for this one process, so any number of handles, threads and
/// [`std::process::Child`]ren live in one program. What must not be is a `wait` for *any* child while [`create`], `exec` or a handle's
/// `wait` goes on, or a `SIGCHLD` that is ignored (see [`stop_ignoring_children`](crate::stop_ignoring_children)): both take away what is
/// waited for, and a `wait` then fails with `ECHILD`.
///
/// # Dropping it
///
/// kills nobody and reaps nobody: the process goes on, and is a zombie from its end to this program's, where it is for `init` to reap. The
/// pipes and the terminal are closed: a process that writes to them gets `SIGPIPE` or `SIGHUP`.
///
/// # Asynchronous programs
///
/// The handle is a descriptor ([`AsFd`]) that becomes readable when the process ends, in any event loop (tokio's `AsyncFd`, for example);
/// [`Self::try_wait`] then has the status. Pipes and terminal are descriptors likewise.
///
/// [`create`]: crate::ContainerBuilder::create
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
    warnings: Vec<String>,
    /// Writes to the process's standard input, where that is [`Stdio::Piped`](crate::Stdio::Piped). Dropped, it is the input's end.
    pub stdin: Option<PipeWriter>,
    /// Reads the process's standard output, where that is piped.
    pub stdout: Option<PipeReader>,
    /// Reads the process's standard error, where that is piped.
    pub stderr: Option<PipeReader>,
    /// The terminal, where the process has one.
    pub terminal: Option<Terminal>,
}

impl Child {
    pub(super) fn new(id: &str, created: Created, ends: Ends) -> Result<Self, Error> {
        Ok(Self {
            pid: created.pid,
            // Ended and reaped by somebody else since it was made.
            pidfd: created.pidfd.ok_or_else(|| Error::NotRunning(id.into()))?,
            status: None,
            warnings: created.warnings,
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            terminal: created.console.map(Terminal::new),
        })
    }

    /// The process id in this program's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What of the configuration was left out, and why: for the user's eyes.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Sends a signal to this process and no other, ever: one that has ended gets none, and that is no error.
    ///
    /// # Errors
    /// [`Error::System`] when the kernel refuses the number or the right to send it.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        match crate::sys::process::pidfd_send_signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result.map_err(|error| Error::system(format!("signal {signal} to {}", self.pid), error)),
        }
    }

    /// Waits for the end, reaps, and tells how it ended; again, when asked again. The standard input is closed before, so that a process
    /// that reads it to the end can end.
    ///
    /// # Errors
    /// [`Error::System`] (`ECHILD`) when somebody else has reaped it.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.reap(WaitIdOptions::EXITED)? {
                return Ok(status);
            }
        }
    }

    /// How it ended, if it has; reaps it then.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.reap(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// As [`Self::wait`], for so long at most; `None` when it has not ended then.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        drop(self.stdin.take());
        let end = std::time::Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::system(format!("wait for process {}", self.pid), error)),
                Ok(_) => return self.try_wait(),
            }
        }
    }

    /// Reads the piped outputs to their ends, both at once, then waits. What is not piped is empty.
    ///
    /// # Errors
    /// As [`Self::wait`]; [`Error::System`] when a pipe cannot be read.
    pub fn wait_with_output(mut self) -> Result<Output, Error> {
        drop(self.stdin.take());
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = std::thread::scope(|scope| {
            let stderr = scope.spawn(|| read_all(stderr));
            (read_all(stdout), stderr.join())
        });
        let stderr = stderr.unwrap_or_else(|_| Err(std::io::Error::other("the reading thread panicked")));
        let read = |result: std::io::Result<Vec<u8>>| {
            result.map_err(|error| Error::system(format!("read the output of process {}", self.pid), error))
        };
        Ok(Output {
            stdout: read(stdout)?,
            stderr: read(stderr)?,
            status: self.wait()?,
        })
    }

    fn reap(&mut self, options: WaitIdOptions) -> Result<Option<ExitStatus>, Error> {
        if self.status.is_none() {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    let ended =
                        result.map_err(|error| Error::system(format!("wait for process {}", self.pid), error))?;
                    self.status = ended.as_ref().map(status);
                }
            }
        }
        Ok(self.status)
    }
}

/// In the layout of `wait(2)`.
fn status(ended: &rustix::process::WaitIdStatus) -> ExitStatus {
    let core = if ended.dumped() { 0x80 } else { 0 };
    let raw = match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, signal) => signal.unwrap_or(0) | core,
    };
    ExitStatus::from_raw(raw)
}

fn read_all(pipe: Option<PipeReader>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// The pidfd: readable when the process has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The pidfd's number, for event loops that go by numbers.
impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}
