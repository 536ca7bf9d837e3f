//! A scope of work that leaves nothing behind when it fails.
//!
//! Whatever a pull, load or import brings is held by a lease until names and labels hold it. The lease expires by itself
//! after a day, for a daemon that dies; everything else is undone here: partial ingests, active snapshots, the lease.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use containerd_proto::containerd::services::leases::v1::{CreateRequest, DeleteRequest, ListRequest};
use containerd_proto::containerd::services::snapshots::v1::RemoveSnapshotRequest;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::ingest;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// What the names of our leases begin with.
const PREFIX: &str = "dockerd-rs-";
/// How long after its start a daemon keeps what one before it left half done: for a client that tries again.
const GRACE: std::time::Duration = std::time::Duration::from_secs(600);
/// How long a lease lasts when nobody ends it.
const LEASE_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The store under a lease, and the notes of what to undo.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// Every call through it is under the lease.
    pub(crate) store: Store,
    /// The lease's id.
    pub(crate) lease: String,
    undo: Arc<Mutex<Undo>>,
}

#[derive(Debug, Default)]
struct Undo {
    ingests: BTreeSet<String>,
    snapshots: BTreeSet<String>,
}

impl Scope {
    fn undo(&self) -> std::sync::MutexGuard<'_, Undo> {
        self.undo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an ingest that is about to be opened.
    pub(crate) fn ingest_begins(&self, reference: &str) {
        self.undo().ingests.insert(reference.to_owned());
    }

    /// The ingest has become a blob.
    pub(crate) fn ingest_ends(&self, reference: &str) {
        self.undo().ingests.remove(reference);
    }

    /// Notes an active snapshot that is about to be made.
    pub(crate) fn snapshot_begins(&self, key: &str) {
        self.undo().snapshots.insert(key.to_owned());
    }

    /// The snapshot was committed or removed.
    pub(crate) fn snapshot_ends(&self, key: &str) {
        self.undo().snapshots.remove(key);
    }

    /// Removes a snapshot, waiting for whoever still uses it.
    pub(crate) async fn remove_snapshot(&self, key: &str) {
        for tries in 0..20 {
            let snapshotter = self.store.l3.snapshotter().to_owned();
            let request = RemoveSnapshotRequest {
                snapshotter,
                key: key.to_owned(),
            };
            match self.store.l3.snapshots().remove(request).await {
                Ok(_) => return self.snapshot_ends(key),
                Err(status) if status.code() == Code::NotFound => return self.snapshot_ends(key),
                Err(status) if tries == 19 => {
                    tracing::warn!(key, error = status.message(), "snapshot stays behind");
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    /// Ends the scope: undoes what is noted and gives the lease back.
    async fn end(self, failed: bool) {
        let (ingests, snapshots) = {
            let mut undo = self.undo();
            (std::mem::take(&mut undo.ingests), std::mem::take(&mut undo.snapshots))
        };
        self.store.closing.close();
        self.store.closing.wait().await;
        for reference in ingests {
            ingest::abort(&self.store, &reference).await;
        }
        for key in snapshots {
            self.remove_snapshot(&key).await;
        }
        // After a failure the unreferenced content goes at once, not at the next collection.
        let request = DeleteRequest {
            id: self.lease.clone(),
            sync: failed,
        };
        if let Err(status) = self.store.l3.leases().delete(request).await
            && status.code() != Code::NotFound
        {
            tracing::warn!(lease = %self.lease, error = status.message(), "lease stays until it expires");
        }
    }
}

/// Runs `work` within a scope of its own, and ends the scope whatever becomes of it: done, failed or canceled.
///
/// The work runs in a task, so that a client that goes away cannot stop the clean-up.
pub(crate) async fn within<T, W, F>(store: &Store, cancel: CancellationToken, work: W) -> Result<T>
where
    T: Send + 'static,
    W: FnOnce(Scope) -> F + Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let store = store.clone();
    let task = tokio::spawn(async move {
        let scope = open(&store).await?;
        let canceled = || Error::new(ErrorKind::Internal, "context canceled");
        // Dropping the work closes its streams before its leftovers are removed.
        let outcome = tokio::select! {
            outcome = work(scope.clone()) => outcome,
            () = cancel.cancelled() => Err(canceled()),
        };
        scope.end(outcome.is_err()).await;
        outcome
    });
    task.await.map_err(|e| Error::failed("image operation", e))?
}

async fn open(store: &Store) -> Result<Scope> {
    let lease = format!("{PREFIX}{}", unique()?);
    let expires = Timestamp::now()
        .checked_add(LEASE_LIFE)
        .map_err(|e| Error::failed("lease time", e))?;
    let labels = HashMap::from([("containerd.io/gc.expire".to_owned(), expires.to_string())]);
    store
        .l3
        .leases()
        .create(CreateRequest {
            id: lease.clone(),
            labels,
        })
        .await?;
    let leased = Store::new(store.l3.with_lease(&lease)?);
    Ok(Scope {
        store: leased,
        lease,
        undo: Arc::default(),
    })
}

/// Ends the leases that a daemon before this one has left, after a while. Until then an interrupted pull can be gone on with.
///
/// # Errors
/// When the leases cannot be listed.
pub(crate) async fn sweep_later(store: &Store) -> Result<()> {
    let all = store
        .l3
        .leases()
        .list(ListRequest::default())
        .await?
        .into_inner()
        .leases;
    let stale: Vec<String> = all
        .into_iter()
        .map(|lease| lease.id)
        .filter(|id| id.starts_with(PREFIX))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    tracing::info!(count = stale.len(), "image operations were interrupted");
    let store = store.clone();
    tokio::spawn(async move {
        tokio::time::sleep(GRACE).await;
        for id in stale {
            if let Err(status) = store
                .l3
                .leases()
                .delete(DeleteRequest {
                    id: id.clone(),
                    sync: false,
                })
                .await
            {
                tracing::debug!(lease = %id, error = status.message(), "lease of an interrupted operation");
            }
        }
    });
    Ok(())
}

/// A name nobody else has: time and chance.
pub(crate) fn unique() -> Result<String> {
    let mut chance = [0u8; 6];
    rustix::rand::getrandom(&mut chance, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::failed("getrandom", e))?;
    Ok(format!("{}-{}", Timestamp::now().as_nanosecond(), hex::encode(chance)))
}
