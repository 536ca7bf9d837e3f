//! One writer for each ref: locks in memory, since one process owns a store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use containerd_rs_core::{Error, Result};

/// The refs that have a writer, since when.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Instant>>);

/// Holds a ref until it is dropped.
pub(crate) struct RefLock {
    locks: Arc<Locks>,
    reference: String,
}

impl Locks {
    /// Takes a ref.
    ///
    /// # Errors
    /// `Unavailable` in containerd's words, which its client waits on and retries.
    pub(crate) fn lock(self: &Arc<Self>, reference: &str) -> Result<RefLock> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = held.get(reference) {
            let age = Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
            return Err(Error::Unavailable(format!("ref {reference} locked for {age:?}")));
        }
        held.insert(reference.to_owned(), Instant::now());
        Ok(RefLock {
            locks: Arc::clone(self),
            reference: reference.to_owned(),
        })
    }
}

impl Drop for RefLock {
    fn drop(&mut self) {
        self.locks
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.reference);
    }
}
