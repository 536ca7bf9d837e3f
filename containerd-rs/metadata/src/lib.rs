//! One transactional store for images, containers, leases, namespaces, labels and snapshots, with garbage collection.
//!
//! All of the manager's records are in one redb file. That is the design decision: a snapshot prepared, a lease filled and
//! a container written are changes of one database, so one sync of the disk makes them durable together, and a crash
//! takes back a consistent tail or nothing.
//!
//! * Writers share transactions (`db`): callers that come while the disk is busy are served together. What only
//!   matters once something else is written (a prepared snapshot, an ingested blob, a new lease) is *relaxed*: a killed
//!   process does not lose it (`journal`), but nobody waits for the disk. Images, containers and ends of leases are durable.
//! * Everything on the disk can be rebuilt or cleaned from both sides: bytes are there before their row and go after it.
//!   Directories without a row are removed at the start, blobs at the first collection.
//! * Content and snapshots know namespaces only here: [`Content`] and [`Snapshots`] put names, labels and parents over a
//!   [`BlobStore`] and [`LayerStore`]s, which know neither.
//! * Collection follows containerd's labels to the letter (`gc`), since its clients do their part of it.

mod activity;
mod collect;
mod containers;
mod content;
mod db;
mod gc;
mod images;
mod job;
mod journal;
mod leases;
mod namespaces;
mod records;
mod reserve;
mod row;
mod sandboxes;
mod snapshots;
mod tx;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use containerd_rs_core::{BlobStore, Error, LayerStore, Result};

use crate::activity::Activity;
use crate::db::Db;

pub use containers::Containers;
pub use content::Content;
pub use gc::scheduler::{Collector, GcConfig};
pub use gc::{GcReport, Node, NodeKind};
pub use images::Images;
pub use leases::Leases;
pub use namespaces::Namespaces;
pub use sandboxes::Sandboxes;
pub use snapshots::Snapshots;

/// The metadata store, over a blob store and layer stores that it alone uses.
pub struct Metadata {
    db: Arc<Db>,
    activity: Arc<Activity>,
    content: Content,
    snapshots: BTreeMap<String, Arc<Snapshots>>,
    collecting: Mutex<()>,
    /// Whether the next collection looks at the whole disk.
    whole: AtomicBool,
}

impl Metadata {
    /// Opens or makes the database file, and removes layer directories that a crash left. Only one process may have it open.
    ///
    /// # Errors
    /// `Internal` for a damaged file, one of a later version or one in use; `Io`.
    pub fn open(path: &Path, blobs: Arc<dyn BlobStore>, layers: Vec<Arc<dyn LayerStore>>) -> Result<Self> {
        let db = Arc::new(Db::open(path)?);
        // The file's name must survive a power cut as its content does.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let synced = std::fs::File::open(parent).and_then(|dir| dir.sync_all());
            synced.map_err(|e| Error::io(format!("fsync {}", parent.display()), e))?;
        }
        let activity = Arc::<Activity>::default();
        let mut snapshots = BTreeMap::new();
        for store in layers {
            let name = store.name().to_owned();
            let opened = Snapshots::open(Arc::clone(&db), store, Arc::clone(&activity))?;
            snapshots.insert(name, Arc::new(opened));
        }
        let content = Content {
            db: Arc::clone(&db),
            blobs,
            activity: Arc::clone(&activity),
            gate: Arc::default(),
            doubtful: Arc::default(),
        };
        let (collecting, whole) = (Mutex::new(()), AtomicBool::new(true));
        Ok(Metadata {
            db,
            activity,
            content,
            snapshots,
            collecting,
            whole,
        })
    }

    /// Namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces(Arc::clone(&self.db))
    }

    /// Images.
    #[must_use]
    pub fn images(&self) -> Images {
        Images {
            db: Arc::clone(&self.db),
            activity: Arc::clone(&self.activity),
        }
    }

    /// Containers.
    #[must_use]
    pub fn containers(&self) -> Containers {
        Containers {
            db: Arc::clone(&self.db),
            activity: Arc::clone(&self.activity),
        }
    }

    /// Sandboxes.
    #[must_use]
    pub fn sandboxes(&self) -> Sandboxes {
        Sandboxes {
            db: Arc::clone(&self.db),
            activity: Arc::clone(&self.activity),
        }
    }

    /// Leases.
    #[must_use]
    pub fn leases(&self) -> Leases {
        Leases {
            db: Arc::clone(&self.db),
            activity: Arc::clone(&self.activity),
        }
    }

    /// Content.
    #[must_use]
    pub fn content(&self) -> Content {
        self.content.clone()
    }

    /// A snapshotter by its name.
    ///
    /// # Errors
    /// `NotFound`, in the words of containerd's service.
    pub fn snapshotter(&self, name: &str) -> Result<Arc<Snapshots>> {
        let found = self.snapshots.get(name);
        found
            .cloned()
            .ok_or_else(|| Error::NotFound(format!("snapshotter not loaded: {name}")))
    }

    /// The names of all snapshotters.
    #[must_use]
    pub fn snapshotters(&self) -> Vec<String> {
        self.snapshots.keys().cloned().collect()
    }

    /// Waits until all that was written is on disk.
    ///
    /// # Errors
    /// Those of the database.
    pub fn sync(&self) -> Result<()> {
        self.db.sync()
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }
}
