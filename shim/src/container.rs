//! A container: its first process, those that were added, and what the host keeps for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::v1::types::Status as WireStatus;
use runc_rs_cgroups::Cgroup;

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::oom::OomWatch;
use crate::process::{Phase, Process};
use crate::runtime::OciRuntime;

/// Whether a container's processes are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    /// They run.
    No,
    /// They are being frozen.
    Pausing,
    /// They are.
    Yes,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: Bundle,
    pub(crate) runtime: Arc<dyn OciRuntime>,
    pub(crate) options: Options,
    pub(crate) init: Arc<Process>,
    /// Processes may outlive the first one.
    pub(crate) shares_pids: bool,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<OomWatch>,
    /// One Delete, Pause or Resume at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    frozen: Mutex<Frozen>,
    /// The first process was reaped; nothing can be started any more.
    init_gone: AtomicBool,
}

impl Container {
    /// A container whose first process was made.
    pub(crate) fn new(
        id: String,
        bundle: Bundle,
        runtime: Arc<dyn OciRuntime>,
        options: Options,
        init: Arc<Process>,
    ) -> Self {
        Self {
            id,
            bundle,
            runtime,
            options,
            init,
            shares_pids: false,
            cgroup: None,
            oom: None,
            turn: tokio::sync::Mutex::default(),
            execs: Mutex::default(),
            frozen: Mutex::new(Frozen::No),
            init_gone: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first process (empty id), or one that was added.
    ///
    /// # Errors
    /// [`Error::NotFound`], in containerd's words.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>> {
        if exec_id.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        let found = self.lock().get(exec_id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("process does not exist {exec_id}")))
    }

    /// Registers a process.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub(crate) fn add(&self, process: Arc<Process>) -> Result<()> {
        let mut execs = self.lock();
        if execs.contains_key(&process.exec_id) {
            return Err(Error::Exists(format!("id {}", process.exec_id)));
        }
        execs.insert(process.exec_id.clone(), process);
        Ok(())
    }

    /// Forgets a process whose exit was fetched.
    pub(crate) fn remove(&self, exec_id: &str) {
        self.lock().remove(exec_id);
    }

    /// The processes that were added.
    pub(crate) fn execs(&self) -> Vec<Arc<Process>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn frozen(&self) -> Frozen {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_frozen(&self, frozen: Frozen) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = frozen;
    }

    pub(crate) fn is_init_gone(&self) -> bool {
        self.init_gone.load(Ordering::Relaxed)
    }

    pub(crate) fn set_init_gone(&self) {
        self.init_gone.store(true, Ordering::Relaxed);
    }

    /// A process's status; all are paused when the container is.
    pub(crate) fn status(&self, process: &Process) -> WireStatus {
        match (process.phase(), self.frozen()) {
            (Phase::Stopped, _) => WireStatus::Stopped,
            (_, Frozen::Yes) => WireStatus::Paused,
            (_, Frozen::Pausing) => WireStatus::Pausing,
            (Phase::Created, Frozen::No) => WireStatus::Created,
            (Phase::Running, Frozen::No) => WireStatus::Running,
        }
    }

    /// What containerd's shim calls the state of the first process in its errors.
    pub(crate) fn state_name(&self) -> &'static str {
        match (self.init.phase(), self.frozen()) {
            (Phase::Stopped, _) => "stopped",
            (_, Frozen::Yes | Frozen::Pausing) => "paused",
            (Phase::Created, Frozen::No) => "created",
            (Phase::Running, Frozen::No) => "running",
        }
    }
}
