//! The stores, by the roles that services need them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use containerd_rs_core::{
    Applier, Comparer, ContainerStore, ContentStore, Error, ImageStore, LeaseStore, NamespaceStore, Result, Snapshotter,
};

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
    /// A snapshotter by the name in a request; an empty name is the default one.
    ///
    /// # Errors
    /// `InvalidArgument`, in containerd's words, when there is none of that name.
    pub(crate) fn snapshotter(&self, name: &str) -> Result<Arc<dyn Snapshotter>> {
        let name = if name.is_empty() { &self.default_snapshotter } else { name };
        let found = self.snapshotters.get(name).cloned();
        found.ok_or_else(|| Error::InvalidArgument(format!("snapshotter not loaded: {name}")))
    }
}
