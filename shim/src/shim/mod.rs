//! The containers of one shim, and what can be done to them.
//!
//! - `create`: a container from nothing to created
//! - `start`: its program, and further processes
//! - `exit`: what happens when a process ends, in the order that managers rely on
//! - `control`: signals, freezing, limits, usage
//! - `delete`: the end

mod control;
mod create;
mod delete;
mod exit;
mod start;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::idle::Idle;
use crate::process::Process;
use crate::reaper::Reaper;
use crate::runtime::{OciRuntime, RuntimeError, RuntimeResult};

/// How long output may take to be taken by its readers after its process has ended, as in containerd's shim.
const DRAIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Shim {
    namespace: String,
    events: Arc<Events>,
    reaper: Arc<Reaper>,
    idle: Idle,
    /// By id; `None` while one is being created.
    containers: Mutex<HashMap<String, Option<Arc<Container>>>>,
    /// Becomes true when the shim is to end.
    ending: watch::Sender<bool>,
}

impl Shim {
    /// A shim without containers.
    pub(crate) fn new(namespace: &str, events: Arc<Events>, reaper: Arc<Reaper>) -> Arc<Self> {
        Arc::new(Self {
            namespace: namespace.to_owned(),
            events,
            reaper,
            idle: Idle::default(),
            containers: Mutex::default(),
            ending: watch::Sender::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Arc<Container>>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container.
    ///
    /// # Errors
    /// [`Error::NotFound`], in containerd's words.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>> {
        // Every question brings pages of the program back.
        self.idle.worked();
        let found = self.lock().get(id).cloned().flatten();
        found.ok_or_else(|| Error::NotFound("container not created".to_owned()))
    }

    /// A container and one of its processes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn process(&self, id: &str, exec_id: &str) -> Result<(Arc<Container>, Arc<Process>)> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        Ok((container, process))
    }

    /// Gives memory back when there is nothing to do, for ever.
    pub(crate) async fn rest(&self) {
        self.idle.watch().await;
    }

    /// Waits until the shim is to end.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Whether there is a container, or one is being made.
    pub(crate) fn has_containers(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Ends the shim if it has no containers, or at once.
    pub(crate) fn shutdown(&self, now: bool) {
        if now || self.lock().is_empty() {
            self.ending.send_replace(true);
        }
    }

    /// Makes a blocking call to a runtime on a thread of its own; the reaper leaves its children alone meanwhile.
    async fn call<T: Send + 'static>(
        &self,
        runtime: &Arc<dyn OciRuntime>,
        call: impl FnOnce(&dyn OciRuntime) -> RuntimeResult<T> + Send + 'static,
    ) -> RuntimeResult<T> {
        let _hold = self.reaper.hold();
        let runtime = Arc::clone(runtime);
        let done = tokio::task::spawn_blocking(move || call(runtime.as_ref())).await;
        done.unwrap_or_else(|e| Err(RuntimeError(e.to_string())))
    }
}

/// A runtime's error with what was tried.
fn failed(action: &'static str) -> impl FnOnce(RuntimeError) -> Error {
    move |RuntimeError(message)| Error::Runtime { action, message }
}
