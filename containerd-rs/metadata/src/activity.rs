//! What happened since the last collection: the collector's reason to run.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counters that writers raise and the collector's thread waits on.
#[derive(Default)]
pub(crate) struct Activity {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Changes of any kind.
    pub(crate) changes: u64,
    /// Changes that may have left something unreferenced.
    pub(crate) deletions: u64,
    /// The thread is to end.
    pub(crate) stop: bool,
}

impl Activity {
    /// Something was added or changed.
    pub(crate) fn changed(&self) {
        self.state().changes += 1;
        self.wake.notify_all();
    }

    /// Something may have lost its last reference.
    pub(crate) fn deleted(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.deletions += 1;
        drop(state);
        self.wake.notify_all();
    }

    /// Counting starts anew; a collection begins.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.changes = 0;
        state.deletions = 0;
    }

    /// Ends the thread that waits.
    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a condition holds; `false` when the thread is to end.
    pub(crate) fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        let waited = self.wake.wait_while(self.state(), |state| !state.stop && !until(state));
        !waited.unwrap_or_else(PoisonError::into_inner).stop
    }

    /// Waits some time; `false` when the thread is to end.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let waited = self.wake.wait_timeout_while(self.state(), time, |state| !state.stop);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}
