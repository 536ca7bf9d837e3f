//! containerd's logging programs (`binary://`): the container's outputs are their descriptors 3 and 4.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::reaper::{Exit, Reaper};
use crate::sys;

/// How long it may take to be ready.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end after its inputs have, before and after it is asked to.
const FINISH: Duration = Duration::from_secs(10);

/// A logging program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pid: i32,
    exit: oneshot::Receiver<Exit>,
}

/// The ends that the container writes to.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Program {
    /// Starts it and waits until it is ready. To be called while the reaper holds off.
    ///
    /// # Errors
    /// When it cannot be executed, or is not ready in time.
    pub(super) fn start(
        path: &Path,
        arguments: &[String],
        id: &str,
        namespace: &str,
        reaper: &Arc<Reaper>,
    ) -> Result<(Self, Outputs)> {
        let pipe = || io::pipe().map_err(Error::system("pipe"));
        let (out, err, ready) = (pipe()?, pipe()?, pipe()?);
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .env("CONTAINER_ID", id)
            .env("CONTAINER_NAMESPACE", namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::inherit(&mut command, &[out.0.as_fd(), err.0.as_fd(), ready.1.as_fd()]);
        let child = command.spawn().map_err(|source| Error::System {
            action: format!("failed to start binary process {}", path.display()),
            source,
        })?;
        drop(ready.1);
        let pid = child.id().cast_signed();
        let program = Self {
            pid,
            exit: reaper.watch(pid)?,
        };
        let patience = Timespec {
            tv_sec: START.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        // Ready is a byte or a closed pipe: either makes it readable.
        match poll(&mut [PollFd::new(&ready.0, PollFlags::IN)], Some(&patience)) {
            Ok(0) => {
                program.signal(Signal::KILL);
                Err(Error::State(format!(
                    "timeout waiting for logging binary {} to be ready",
                    path.display()
                )))
            }
            Err(e) => {
                program.signal(Signal::KILL);
                Err(Error::system("failed to read from logging binary")(e))
            }
            Ok(_) => Ok((
                program,
                Outputs {
                    stdout: out.1.into(),
                    stderr: err.1.into(),
                },
            )),
        }
    }

    /// Waits for it to end now that its inputs have; asks it, then makes it.
    pub(super) async fn finish(mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if tokio::time::timeout(FINISH, &mut self.exit).await.is_ok() {
                return;
            }
            self.signal(signal);
        }
    }

    /// The process is watched and not yet reaped, so the id is still its own.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may have ended this very moment.
            let _ = kill_process(pid, signal);
        }
    }
}
