//! Tells of a container that ran out of memory: once, and before its exit.

use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use containerd_proto::containerd::events::TaskOom;
use runc_rs_cgroups::oom::OomEvent;
use runc_rs_cgroups::{Cgroup, OomNotifier};
use tokio::io::Interest;
use tokio::task::AbortHandle;

use crate::error::{Error, Result};
use crate::events::Events;
use crate::sys;

/// A watch on a container's memory. Ends with it.
#[derive(Debug)]
pub(crate) struct OomWatch {
    state: Arc<State>,
    task: AbortHandle,
}

#[derive(Debug)]
struct State {
    id: String,
    events: Arc<Events>,
    inner: Mutex<(OomNotifier, bool)>,
}

impl Drop for OomWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OomWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// A host without a memory controller; a failing system call.
    pub(crate) fn new(id: &str, cgroup: &Cgroup, events: &Arc<Events>) -> Result<Self> {
        let notifier = OomNotifier::new(cgroup).map_err(|e| Error::Cgroup(e.to_string()))?;
        let fd = notifier.as_fd().try_clone_to_owned().map_err(Error::system("dup"))?;
        let fd = sys::reactor(fd, Interest::READABLE).map_err(Error::system("epoll"))?;
        let state = Arc::new(State {
            id: id.to_owned(),
            events: Arc::clone(events),
            inner: Mutex::new((notifier, false)),
        });
        let watching = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok(mut guard) = fd.readable().await {
                guard.clear_ready();
                if watching.look() == OomEvent::Gone {
                    break;
                }
            }
        });
        Ok(Self {
            state,
            task: task.abort_handle(),
        })
    }

    /// Looks now, so that what has happened is told before what comes next.
    pub(crate) fn check(&self) {
        self.state.look();
    }
}

impl State {
    fn look(&self) -> OomEvent {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let event = inner.0.read().unwrap_or_else(|error| {
            tracing::warn!(id = self.id, %error, "watch for out of memory");
            OomEvent::Gone
        });
        if event == OomEvent::Oom && !std::mem::replace(&mut inner.1, true) {
            let container_id = self.id.clone();
            self.events.publish("/tasks/oom", &TaskOom { container_id });
        }
        event
    }
}
