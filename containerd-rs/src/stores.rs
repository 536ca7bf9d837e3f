//! The stores, by the roles that services need them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use containerd_rs_content::LocalStore;
use containerd_rs_core::{
    Applier, Comparer, ContainerStore, ContentStore, Error, ImageStore, LeaseStore, NamespaceStore, Result, Snapshotter,
};
use containerd_rs_metadata::Metadata;
use containerd_rs_snapshots::{LayerApplier, LayerComparer, OverlayStore};

use crate::Config;

/// Directories below the root; containerd's names.
pub(crate) const CONTENT: &str = "io.containerd.content.v1.content";
pub(crate) const OVERLAY: &str = "io.containerd.snapshotter.v1.overlayfs";
/// The database, a name of its own: containerd's has another format.
const DATABASE: &str = "metadata.redb";

/// Everything that outlives the engine. Clones are the same stores.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) content: Arc<dyn ContentStore>,
    pub(crate) images: Arc<dyn ImageStore>,
    pub(crate) containers: Arc<dyn ContainerStore>,
    pub(crate) leases: Arc<dyn LeaseStore>,
    pub(crate) namespaces: Arc<dyn NamespaceStore>,
    pub(crate) snapshotters: Arc<BTreeMap<String, Arc<dyn Snapshotter>>>,
    pub(crate) default_snapshotter: String,
    pub(crate) applier: Arc<dyn Applier>,
    pub(crate) comparer: Arc<dyn Comparer>,
}

impl Stores {
    /// Opens all stores below the root.
    ///
    /// # Errors
    /// `Io`; `Internal` for a damaged database.
    pub(crate) fn open(config: &Config) -> Result<(Self, Arc<Metadata>)> {
        let blobs = Arc::new(LocalStore::open(config.root.join(CONTENT))?);
        let layers = Arc::new(OverlayStore::open(config.root.join(OVERLAY))?);
        let metadata = Arc::new(Metadata::open(&config.root.join(DATABASE), blobs, vec![layers])?);
        let content = Arc::new(metadata.content());
        let mut snapshotters = BTreeMap::new();
        for name in metadata.snapshotters() {
            let snapshotter: Arc<dyn Snapshotter> = metadata.snapshotter(&name)?;
            snapshotters.insert(name, snapshotter);
        }
        let stores = Stores {
            images: Arc::new(metadata.images()),
            containers: Arc::new(metadata.containers()),
            leases: Arc::new(metadata.leases()),
            namespaces: Arc::new(metadata.namespaces()),
            snapshotters: Arc::new(snapshotters),
            default_snapshotter: config.snapshotter.clone(),
            applier: Arc::new(LayerApplier::new(content.clone())),
            comparer: Arc::new(LayerComparer::new(content.clone())),
            content,
        };
        Ok((stores, metadata))
    }

    /// A snapshotter by the name in a request; an empty name is the default one.
    ///
    /// # Errors
    /// `InvalidArgument`, in containerd's words, when there is none of that name.
    pub(crate) fn snapshotter(&self, name: &str) -> Result<Arc<dyn Snapshotter>> {
        let name = if name.is_empty() {
            &self.default_snapshotter
        } else {
            name
        };
        let found = self.snapshotters.get(name).cloned();
        found.ok_or_else(|| Error::InvalidArgument(format!("snapshotter not loaded: {name}")))
    }
}
