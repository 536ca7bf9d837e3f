//! One process of a container, from the request for it until its exit was fetched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::reaper::Exit;
use crate::stdio::{Running, StdioRequest};

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A container's first process that waits for Start; a further process that was only registered.
    Created,
    /// Its program runs.
    Running,
    /// It has ended, and its exit is there to be fetched.
    Stopped,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    pid: i32,
    streams: Option<Arc<Running>>,
}

/// A container's first process, or one that was added by Exec.
#[derive(Debug)]
pub(crate) struct Process {
    /// Empty for the first process.
    pub(crate) exec_id: String,
    /// What the request said of its streams.
    pub(crate) stdio: StdioRequest,
    /// The OCI process as JSON, for one that was added by Exec.
    pub(crate) spec: Vec<u8>,
    /// Held from the beginning of Create or Start until its event is queued, and by whoever reports the exit: the exit never overtakes the start.
    pub(crate) gate: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    exit: watch::Sender<Option<Exit>>,
}

impl Process {
    /// A process that is not there yet.
    pub(crate) fn new(exec_id: String, stdio: StdioRequest, spec: Vec<u8>) -> Self {
        Self {
            exec_id,
            stdio,
            spec,
            gate: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                phase: Phase::Created,
                pid: 0,
                streams: None,
            }),
            exit: watch::Sender::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Its id, 0 until it is made. Stays after its end.
    pub(crate) fn pid(&self) -> i32 {
        self.lock().pid
    }

    /// Its id as messages have it.
    pub(crate) fn wire_pid(&self) -> u32 {
        self.pid().unsigned_abs()
    }

    pub(crate) fn streams(&self) -> Option<Arc<Running>> {
        self.lock().streams.clone()
    }

    /// The process was made.
    pub(crate) fn made(&self, pid: i32, streams: Running) {
        let mut state = self.lock();
        state.pid = pid;
        state.streams = Some(Arc::new(streams));
    }

    /// Its program runs, unless it has ended already.
    pub(crate) fn set_running(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Created {
            state.phase = Phase::Running;
        }
    }

    /// It has ended: from now on this is its state, and who waits is told.
    pub(crate) fn set_stopped(&self, exit: Exit) {
        self.lock().phase = Phase::Stopped;
        self.exit.send_replace(Some(exit));
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&self) -> Option<Exit> {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.ok()?;
        exit.clone()
    }
}
