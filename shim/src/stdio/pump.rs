//! Copies one stream until it ends.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::{oneshot, watch};

use super::scratch;
use super::sink::{Channel, Sink};
use crate::sys;

/// A terminal hands its last bytes over a little after its process has ended; when it has been quiet for so long they are all through.
const QUIET: Duration = Duration::from_millis(100);

/// How long a listener may not read after the process has ended. Shorter than the exit waits for its output.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A stream from a channel to a sink.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) source: Channel,
    pub(super) sink: Sink,
    /// Becomes true when the process has ended; `None` for its input, which ends by itself.
    pub(super) ended: Option<watch::Receiver<bool>>,
    /// Dropped when everything the process wrote has gone on its way.
    pub(super) drained: Option<oneshot::Sender<()>>,
    pub(super) terminal: bool,
}

/// The outcome of one read and one write.
enum Step {
    Moved,
    /// The sink took some; these bytes are left.
    Left(Vec<u8>),
    Empty,
    End,
}

impl Pump {
    /// Runs until the source ends, or the sink is closed for good.
    pub(super) async fn run(mut self) {
        let mut ended = false;
        loop {
            self.sink.ready().await;
            let step = if ended && self.drained.is_some() {
                // What it wrote is in the pipe already, whether or not the reactor has told us.
                self.step()
            } else {
                let source = std::sync::Arc::clone(&self.source);
                tokio::select! {
                    guard = source.readable() => match guard {
                        Ok(mut guard) => {
                            let step = self.step();
                            if matches!(step, Step::Empty) {
                                guard.clear_ready();
                            }
                            step
                        }
                        Err(_) => Step::End,
                    },
                    () = has_ended(&mut self.ended), if !ended => {
                        ended = true;
                        Step::Moved
                    }
                }
            };
            match step {
                Step::Moved => {}
                Step::Left(bytes) => {
                    if !self.pass_on(&bytes, ended).await {
                        return;
                    }
                }
                Step::Empty if ended => self.drained().await,
                Step::Empty => {}
                Step::End => return,
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Hands over what did not fit at once; whether the sink is still there. A listener that does not read holds up a process that lives, but
    /// not the log of one that has ended.
    async fn pass_on(&mut self, bytes: &[u8], ended: bool) -> bool {
        let Self {
            sink, ended: ending, ..
        } = self;
        let has_listener = matches!(sink, Sink::Docker(_));
        let patience = async {
            if !ended {
                has_ended(ending).await;
            }
            tokio::time::sleep(PATIENCE).await;
        };
        let taken = tokio::select! {
            taken = sink.rest(bytes) => Some(taken.is_ok()),
            () = patience, if has_listener => None,
        };
        if let (None, Sink::Docker(docker)) = (taken, &mut self.sink) {
            docker.forget_listener();
        }
        taken.unwrap_or(true)
    }

    fn step(&mut self) -> Step {
        scratch::with(|buffer| {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(self.source.get_ref(), &mut *buffer));
            let length = match read {
                Ok(0) => return Step::End,
                Ok(length) => length,
                Err(Errno::AGAIN) => return Step::Empty,
                // EIO: the terminal's other side is closed.
                Err(_) => return Step::End,
            };
            match self.sink.offer(&buffer[..length]) {
                Ok(done) if done == length => Step::Moved,
                Ok(done) => Step::Left(buffer[done..length].to_vec()),
                Err(_) => Step::End,
            }
        })
    }

    /// The process has ended and its pipe is empty: say so, once.
    async fn drained(&mut self) {
        if self.drained.is_none() {
            return;
        }
        if self.terminal {
            let source = std::sync::Arc::clone(&self.source);
            let more = async {
                loop {
                    let Ok(mut guard) = source.readable().await else { return };
                    // Readiness may be stale: only what can be read now counts.
                    if is_readable(&source) {
                        return;
                    }
                    guard.clear_ready();
                }
            };
            if tokio::time::timeout(QUIET, more).await.is_ok() {
                return;
            }
        }
        self.drained = None;
    }
}

/// Waits until the process has ended, or nobody is left to say so.
async fn has_ended(ended: &mut Option<watch::Receiver<bool>>) {
    match ended {
        // An error: the streams were dropped, which is as good as the end.
        Some(ended) => drop(ended.wait_for(|ended| *ended).await),
        None => std::future::pending().await,
    }
}

fn is_readable(source: &Channel) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(source.get_ref(), PollFlags::IN)], Some(&now)).is_ok_and(|n| n > 0)
}

/// Puts a descriptor into the reactor.
///
/// # Errors
/// A descriptor that cannot be polled.
pub(super) fn channel(fd: std::os::fd::OwnedFd) -> io::Result<Channel> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    sys::reactor(fd, Interest::READABLE | Interest::WRITABLE).map(std::sync::Arc::new)
}
