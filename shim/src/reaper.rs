//! Takes the exits of children, all of them, and tells them to who waits.
//!
//! The shim is a subreaper: besides the processes it knows, every orphan of a container ends up as its child. Runtime calls, though, have short
//! lived children of their own and wait for them themselves, in this very process or in a library. So exits are taken by process id where the id
//! is known, and wholesale only while no runtime call is under way. A [`Hold`] is such a call; a process that it brought into the world is
//! watched before the hold ends, therefore its exit cannot be taken for an orphan's, however early it comes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost_types::Timestamp;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::sys;

/// How and when a process ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exit {
    /// The exit code, or 128 and the signal.
    pub(crate) status: u32,
    /// When the shim saw it.
    pub(crate) at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reaper(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    watched: HashMap<i32, oneshot::Sender<Exit>>,
    holds: usize,
}

/// While it lives, unknown children are left to whoever made them.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Reaper>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
        self.0.sweep();
    }
}

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call that has children of its own.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.lock().holds += 1;
        Hold(Arc::clone(self))
    }

    /// The exit of a process, when it comes; it may have come already. Call it under the [`Hold`] in which the process was made.
    ///
    /// # Errors
    /// [`Error::System`] for a process that is no child of the shim: its exit would never be known.
    pub(crate) fn watch(&self, pid: i32) -> Result<oneshot::Receiver<Exit>> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        let ended = sys::reap(pid).map_err(Error::system(format!("wait for process {pid}")))?;
        inner.watched.insert(pid, sender);
        if let Some(ended) = ended {
            inner.tell(pid, ended.status);
        }
        Ok(receiver)
    }

    /// Sends a signal to a process that is watched and was not yet taken, so that its id cannot mean another. Whether it was sent.
    pub(crate) fn signal(&self, pid: i32, signal: i32) -> bool {
        let inner = self.lock();
        inner.watched.contains_key(&pid) && sys::kill(pid, signal).is_ok()
    }

    /// Takes what exits there are. To be called on every SIGCHLD.
    pub(crate) fn sweep(&self) {
        let mut inner = self.lock();
        let pids: Vec<i32> = inner.watched.keys().copied().collect();
        for pid in pids {
            match sys::reap(pid) {
                Ok(Some(ended)) => inner.tell(pid, ended.status),
                Ok(None) => {}
                Err(_) if Path::new(&format!("/proc/{pid}")).exists() => {}
                Err(error) => {
                    tracing::error!(pid, %error, "a process of a container ended that was no child of the shim: its status is unknown");
                    inner.tell(pid, 255);
                }
            }
        }
        while inner.holds == 0 {
            match sys::reap(-1) {
                Ok(Some(ended)) => inner.tell(ended.pid, ended.status),
                // ECHILD: no children at all.
                Ok(None) | Err(_) => break,
            }
        }
    }
}

impl Inner {
    fn tell(&mut self, pid: i32, status: u32) {
        let Some(waiting) = self.watched.remove(&pid) else {
            return;
        };
        let at = containerd_proto::now();
        // Who no longer waits does not want to know.
        let _ = waiting.send(Exit { status, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runtime that names the wrong process must fail, not hang whoever waits.
    #[test]
    fn what_is_no_child_cannot_be_watched() {
        assert!(Reaper::default().watch(1).is_err());
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "the reaper waits for it")]
    fn an_exit_that_came_before_the_watch_is_told() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        let child = std::process::Command::new("false").spawn().unwrap();
        let pid = child.id().cast_signed();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        while !state().contains(") Z") {
            std::thread::yield_now();
        }
        let mut exit = reaper.watch(pid).unwrap();
        assert_eq!(exit.try_recv().unwrap().status, 1);
        // Other tests of this program have children of their own: nothing may be taken wholesale here.
        std::mem::forget(hold);
    }
}
