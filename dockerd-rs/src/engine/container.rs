//! One container in memory: its record, its turn-taking, and what waiters hear.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use super::exec::Exec;
use super::model::Record;
use super::store::Store;
use super::streams::Streams;
use crate::error::Result;

/// What a waiter can wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// There is a process, or one will come by itself.
    pub(crate) running: bool,
    /// How often it ended.
    pub(crate) exits: u64,
    /// Exit code of the last time.
    pub(crate) exit_code: i64,
    /// It is gone.
    pub(crate) removed: bool,
    /// Why it could not be removed.
    pub(crate) error: String,
}

/// A container. Readers take [`Container::record`], which never waits for an operation.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    record: RwLock<Arc<Record>>,
    /// Held by whoever starts it, cleans up after it, changes or removes it.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) life: watch::Sender<Life>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) execs: Mutex<HashMap<String, Arc<Exec>>>,
    /// Ends the wait of a restart policy.
    pub(crate) restart_wait: Notify,
    store: Arc<Store>,
}

impl Container {
    /// A container of this record.
    pub(crate) fn new(record: Record, streams: Arc<Streams>, store: Arc<Store>) -> Arc<Self> {
        let life = Life {
            running: record.state.is_running(),
            exit_code: record.state.exit_code,
            ..Life::default()
        };
        Arc::new(Self {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            turn: tokio::sync::Mutex::default(),
            life: watch::channel(life).0,
            streams,
            execs: Mutex::default(),
            restart_wait: Notify::new(),
            store,
        })
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the record, in memory and on disk. The new one is seen by readers even when writing it fails.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<Arc<Record>> {
        // Written under the lock, so that the file is never older than a change that came later.
        let mut slot = self.record.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut slot));
        self.store.save(&slot)?;
        Ok(Arc::clone(&slot))
    }

    /// Like [`Container::change`] where the operation goes on all the same: a full disk must not keep a container from being stopped.
    pub(crate) fn change_anyway(&self, change: impl FnOnce(&mut Record)) -> Arc<Record> {
        self.change(change).unwrap_or_else(|error| {
            tracing::error!(container = %self.id, %error, "record not written");
            self.record()
        })
    }

    /// An exec by its id.
    pub(crate) fn exec(&self, id: &str) -> Option<Arc<Exec>> {
        self.execs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Ids of the execs that run.
    pub(crate) fn exec_ids(&self) -> Vec<String> {
        let execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<String> = execs
            .values()
            .filter(|exec| exec.is_running())
            .map(|exec| exec.id.clone())
            .collect();
        ids.sort();
        ids
    }
}
