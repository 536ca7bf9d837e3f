//! Which tasks there are, by namespace and id, and who may change them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_rs_core::{Error, Result};
use tokio::sync::watch;

use super::shim::Shim;

/// How long a request waits for a task that is being found again after a restart.
const LOAD_LIMIT: Duration = Duration::from_secs(15);

/// Namespace and id.
type Key = (String, String);

enum Slot {
    /// A bundle was found; whether its shim serves is being looked at.
    Loading(watch::Receiver<()>),
    /// Being made or taken away.
    Busy,
    /// There.
    Ready(Arc<Shim>),
}

/// All tasks.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<Key, Slot>>);

fn key(namespace: &str, id: &str) -> Key {
    (namespace.to_owned(), id.to_owned())
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One task; `None` when there is none. Waits for one that is being loaded.
    pub(crate) async fn get(&self, namespace: &str, id: &str) -> Option<Arc<Shim>> {
        let key = key(namespace, id);
        let mut loading = match self.lock().get(&key)? {
            Slot::Ready(shim) => return Some(Arc::clone(shim)),
            Slot::Loading(loading) => loading.clone(),
            Slot::Busy => return None,
        };
        // The sender goes when the first look is over. A task of which nothing is known yet is still loading then.
        let _ = tokio::time::timeout(LOAD_LIMIT, loading.changed()).await;
        match self.lock().get(&key)? {
            Slot::Ready(shim) => Some(Arc::clone(shim)),
            Slot::Loading(_) | Slot::Busy => None,
        }
    }

    /// All tasks of a namespace, or of all; those that are being loaded are waited for.
    pub(crate) async fn list(&self, namespace: Option<&str>) -> Vec<Arc<Shim>> {
        let wanted = |key: &Key| namespace.is_none_or(|namespace| key.0 == namespace);
        let end = tokio::time::Instant::now() + LOAD_LIMIT;
        let loading: Vec<_> = self
            .lock()
            .iter()
            .filter(|(key, _)| wanted(key))
            .filter_map(|(_, slot)| {
                if let Slot::Loading(loading) = slot {
                    Some(loading.clone())
                } else {
                    None
                }
            })
            .collect();
        for mut loading in loading {
            if tokio::time::timeout_at(end, loading.changed()).await.is_err() {
                break;
            }
        }
        let slots = self.lock();
        let ready = slots.iter().filter(|(key, _)| wanted(key));
        let mut tasks: Vec<_> = ready
            .filter_map(|(_, slot)| {
                if let Slot::Ready(shim) = slot {
                    Some(Arc::clone(shim))
                } else {
                    None
                }
            })
            .collect();
        tasks.sort_by(|a, b| (a.namespace(), a.id()).cmp(&(b.namespace(), b.id())));
        tasks
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> usize {
        self.lock()
            .values()
            .filter(|slot| matches!(slot, Slot::Ready(_)))
            .count()
    }

    /// Whether another task is served at this address.
    pub(crate) fn shares(&self, shim: &Shim) -> bool {
        self.lock().values().any(|slot| match slot {
            Slot::Ready(other) => {
                other.address == shim.address && (other.id() != shim.id() || other.namespace() != shim.namespace())
            }
            _ => false,
        })
    }

    /// Takes an id for a task that is going to be made.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one, or is going to be.
    pub(crate) async fn reserve(self: &Arc<Self>, namespace: &str, id: &str) -> Result<Reservation> {
        // Whatever is being loaded decides first.
        let _ = self.get(namespace, id).await;
        let key = key(namespace, id);
        let mut slots = self.lock();
        if slots.contains_key(&key) {
            return Err(Error::AlreadyExists(format!("task {id}")));
        }
        slots.insert(key.clone(), Slot::Busy);
        Ok(Reservation {
            registry: Arc::clone(self),
            key,
        })
    }

    /// Marks a bundle as found, before its shim is asked. What it turns out to be is said through the reservation.
    pub(crate) fn load(self: &Arc<Self>, namespace: &str, id: &str) -> (Reservation, watch::Sender<()>) {
        let (done, loading) = watch::channel(());
        let key = key(namespace, id);
        self.lock().insert(key.clone(), Slot::Loading(loading));
        (
            Reservation {
                registry: Arc::clone(self),
                key,
            },
            done,
        )
    }

    /// Takes a task away from everybody else, to be cleared away; `None` when somebody was quicker.
    pub(crate) fn take(self: &Arc<Self>, shim: &Arc<Shim>) -> Option<Reservation> {
        let key = key(shim.namespace(), shim.id());
        let mut slots = self.lock();
        match slots.get(&key) {
            Some(Slot::Ready(found)) if Arc::ptr_eq(found, shim) => {
                slots.insert(key.clone(), Slot::Busy);
                Some(Reservation {
                    registry: Arc::clone(self),
                    key,
                })
            }
            _ => None,
        }
    }
}

/// The right to an id. Dropped, the id is free again.
pub(crate) struct Reservation {
    registry: Arc<Registry>,
    key: Key,
}

impl Reservation {
    /// Makes the task known.
    pub(crate) fn fulfil(self, shim: Arc<Shim>) {
        self.registry.lock().insert(self.key.clone(), Slot::Ready(shim));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut slots = self.registry.lock();
        if !matches!(slots.get(&self.key), Some(Slot::Ready(_))) {
            slots.remove(&self.key);
        }
    }
}
