//! A queued write.

use std::sync::{Arc, Mutex, PoisonError};

use containerd_rs_core::{Error, Kind, Result};

use crate::tx::WriteTx;

/// When a write must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before the call returns.
    Durable,
    /// Before anything durable that comes later.
    Relaxed,
}

/// A queued write: done once, then told how the transaction ended.
pub(crate) trait Job: Send {
    /// When it must be on disk.
    fn durability(&self) -> Durability;
    /// Does it; on an error of its own it is taken back. Fails when that fails.
    fn run(&mut self, tx: &mut WriteTx) -> Result<()>;
    /// Tells how the transaction ended.
    fn finish(self: Box<Self>, commit: std::result::Result<(), &Error>);
}

/// One caller's write, and where the caller finds its outcome.
pub(crate) struct TypedJob<T, F> {
    durability: Durability,
    work: Option<F>,
    outcome: Option<Result<T>>,
    slot: Arc<Mutex<Option<Result<T>>>>,
}

impl<T, F> TypedJob<T, F> {
    /// A write that puts its outcome into the slot.
    pub(crate) fn new(durability: Durability, work: F, slot: Arc<Mutex<Option<Result<T>>>>) -> Self {
        TypedJob {
            durability,
            work: Some(work),
            outcome: None,
            slot,
        }
    }
}

impl<T: Send, F: FnOnce(&mut WriteTx) -> Result<T> + Send> Job for TypedJob<T, F> {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, tx: &mut WriteTx) -> Result<()> {
        let Some(work) = self.work.take() else { return Ok(()) };
        tx.mark();
        let outcome = work(tx);
        let rolled = if outcome.is_err() { tx.roll_back() } else { Ok(()) };
        self.outcome = Some(outcome);
        rolled
    }

    fn finish(self: Box<Self>, commit: std::result::Result<(), &Error>) {
        let outcome = match (commit, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // Its own error is the better one, and holds whatever became of the others.
            (Err(_), Some(Err(error))) => Err(error),
            (Err(why), _) if why.kind() == Kind::ResourceExhausted => Err(Error::ResourceExhausted(why.to_string())),
            (Err(why), _) => Err(Error::Internal(why.to_string())),
            (Ok(()), None) => Err(Error::Internal("metadata database: a write was not done".into())),
        };
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}
