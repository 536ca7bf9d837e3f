//! The collector's place in the engine: in the background after deletions, at once for who waits for it, and what it removed is told.

use std::sync::{Arc, Mutex, PoisonError};

use containerd_proto::containerd::events as event;
use containerd_rs_core::Result;
use containerd_rs_metadata::{Collector, GcConfig, GcReport, Metadata, Node, NodeKind};
use tonic::Status;

use crate::Config;
use crate::events::Exchange;
use crate::services::request::blocking;

/// The collector; clones are the same one. It runs until [`Gc::stop`].
#[derive(Clone)]
pub(crate) struct Gc {
    metadata: Arc<Metadata>,
    exchange: Exchange,
    thread: Arc<Mutex<Option<Collector>>>,
}

impl Gc {
    /// Starts collecting in the background.
    ///
    /// # Errors
    /// `Io` when no thread can be made.
    pub(crate) fn start(config: &Config, metadata: Arc<Metadata>, exchange: Exchange) -> Result<Self> {
        let when = GcConfig {
            delay: config.gc_delay,
            ..GcConfig::default()
        };
        let tell = exchange.clone();
        let thread = Collector::start(Arc::clone(&metadata), when, move |report| told(&tell, report))?;
        Ok(Gc {
            metadata,
            exchange,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Collects, and returns when what nobody refers to is gone from the disk.
    pub(crate) async fn now(&self) -> std::result::Result<(), Status> {
        let gc = self.clone();
        blocking(move || {
            let report = gc.metadata.collect()?;
            told(&gc.exchange, &report);
            Ok(())
        })
        .await
    }

    /// Ends the collecting in the background, after the collection that runs, and waits until all that was written is on disk. Blocks.
    pub(crate) fn stop(&self) {
        drop(self.thread.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Err(error) = self.metadata.sync() {
            tracing::error!(%error, "the last writes are not on disk");
        }
    }
}

/// Tells of what was removed, as if somebody had removed it by name.
fn told(exchange: &Exchange, report: &GcReport) {
    if !report.removed.is_empty() || report.blobs > 0 {
        let (removed, blobs, bytes) = (report.removed.len(), report.blobs, report.bytes);
        tracing::info!(removed, blobs, bytes, pause = ?report.pause, elapsed = ?report.elapsed, "collected garbage");
    }
    for Node { kind, namespace, key } in &report.removed {
        match kind {
            NodeKind::Content => {
                exchange.emit(
                    namespace,
                    "/content/delete",
                    &event::ContentDelete { digest: key.clone() },
                );
            }
            NodeKind::Image => exchange.emit(namespace, "/images/delete", &event::ImageDelete { name: key.clone() }),
            NodeKind::Snapshot => {
                let (snapshotter, key) = key.split_once('/').unwrap_or(("", key));
                let event = event::SnapshotRemove {
                    key: key.to_owned(),
                    snapshotter: snapshotter.to_owned(),
                };
                exchange.emit(namespace, "/snapshot/remove", &event);
            }
            NodeKind::Container | NodeKind::Lease | NodeKind::Ingest => {}
        }
    }
}
