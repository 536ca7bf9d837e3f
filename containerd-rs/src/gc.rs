//! The collector's place in the engine: run now, for who waits for it.

use std::sync::Arc;

use containerd_rs_core::Result;
use tonic::Status;

use crate::services::request::blocking;

/// Something that collects what nobody refers to.
pub(crate) trait Collect: Send + Sync {
    /// One whole collection; content and snapshots that are not referred to are gone after it.
    fn collect(&self) -> Result<()>;
}

/// The collector; clones are the same one.
#[derive(Clone)]
pub(crate) struct Gc(pub(crate) Arc<dyn Collect>);

impl Gc {
    /// Collects, and returns when it is done.
    pub(crate) async fn now(&self) -> std::result::Result<(), Status> {
        let collector = self.0.clone();
        blocking(move || collector.collect()).await
    }
}
