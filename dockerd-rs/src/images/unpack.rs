//! Layers to snapshots, as containerd's unpacker does it.
//!
//! Each layer is applied to an active snapshot of a random key over the snapshot of the layers below, which is then
//! committed under the chain id. Whoever is first wins; for everybody else "already exists" is success.

use std::collections::HashMap;

use containerd_proto::containerd::services::diff::v1::ApplyRequest;
use containerd_proto::containerd::services::snapshots::v1::{CommitSnapshotRequest, PrepareSnapshotRequest};
use containerd_proto::containerd::types::Mount;
use containerd_rs_registry::Descriptor;
use tonic::Code;

use super::locks::Locks;
use super::progress::{Progress, short_id};
use super::scope::{Scope, unique};
use super::store::to_proto;
use crate::error::{Error, Result};

/// Names the snapshot that an active one will become, for snapshotters that can find it elsewhere.
const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";

/// One layer: its blob, the digest of its tar, and the chain ids below and with it.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: String,
    pub(crate) parent: String,
    pub(crate) chain_id: String,
}

/// The layers of a manifest with the chain of its config.
///
/// # Errors
/// When manifest and config disagree about how many there are.
pub(crate) fn layers(blobs: &[Descriptor], diff_ids: &[String]) -> Result<Vec<Layer>> {
    if blobs.len() != diff_ids.len() {
        return Err(Error::internal(format!(
            "mismatched image rootfs and manifest layers: {} layers, {} diff ids",
            blobs.len(),
            diff_ids.len()
        )));
    }
    let chain = super::config::chain_ids(diff_ids);
    let parents = std::iter::once(String::new()).chain(chain.iter().cloned());
    let layers = blobs.iter().zip(diff_ids).zip(parents).zip(&chain);
    Ok(layers
        .map(|(((blob, diff_id), parent), chain_id)| Layer {
            blob: blob.clone(),
            diff_id: diff_id.clone(),
            parent,
            chain_id: chain_id.clone(),
        })
        .collect())
}

/// Makes sure that the layer's snapshot exists. The one below must.
///
/// # Errors
/// What the layer below says of a layer that cannot be applied; a layer whose tar is not that of its diff id.
pub(crate) async fn unpack(scope: &Scope, locks: &Locks, layer: &Layer, progress: Option<&Progress>) -> Result<()> {
    let _turn = locks.turn(&layer.chain_id).await;
    let kind = format!("snapshots/{}", scope.store.l3.snapshotter());
    if scope.store.has_snapshot(&layer.chain_id).await? {
        return scope.store.keep(&scope.lease, &kind, &layer.chain_id).await;
    }
    let key = format!("extract-{} {}", unique()?, layer.chain_id);
    scope.snapshot_begins(&key);
    let Some(mounts) = prepare(scope, layer, &key).await? else {
        scope.snapshot_ends(&key);
        return scope.store.keep(&scope.lease, &kind, &layer.chain_id).await;
    };
    let outcome = apply(scope, layer, mounts, progress).await;
    let committed = match outcome {
        Ok(()) => commit(scope, layer, &key).await,
        Err(error) => Err(error),
    };
    match committed {
        Ok(true) => scope.snapshot_ends(&key),
        Ok(false) => scope.remove_snapshot(&key).await,
        Err(error) => {
            scope.remove_snapshot(&key).await;
            return Err(error.context(format!("failed to extract layer {}", layer.diff_id)));
        }
    }
    Ok(())
}

/// Prepares the active snapshot; nothing when the finished one turns out to exist.
async fn prepare(scope: &Scope, layer: &Layer, key: &str) -> Result<Option<Vec<Mount>>> {
    let request = PrepareSnapshotRequest {
        snapshotter: scope.store.l3.snapshotter().to_owned(),
        key: key.to_owned(),
        parent: layer.parent.clone(),
        labels: HashMap::from([(SNAPSHOT_REF.to_owned(), layer.chain_id.clone())]),
    };
    match scope.store.l3.snapshots().prepare(request).await {
        Ok(reply) => Ok(Some(reply.into_inner().mounts)),
        Err(status) if status.code() == Code::AlreadyExists && scope.store.has_snapshot(&layer.chain_id).await? => {
            Ok(None)
        }
        Err(status) => Err(Error::from(status).context(format!("failed to prepare extraction snapshot {key:?}"))),
    }
}

async fn apply(scope: &Scope, layer: &Layer, mounts: Vec<Mount>, progress: Option<&Progress>) -> Result<()> {
    let request = ApplyRequest {
        diff: Some(to_proto(&layer.blob)),
        mounts,
        ..ApplyRequest::default()
    };
    let mut client = scope.store.l3.diff();
    let applying = client.apply(request);
    let id = short_id(layer.blob.digest().as_ref()).to_owned();
    let ticks = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
        // Begins at one: a zero would not be drawn.
        for seconds in 1.. {
            tick.tick().await;
            if let Some(progress) = progress {
                progress.seconds(&id, "Extracting", seconds);
            }
        }
    };
    let applied = tokio::select! {
        reply = applying => reply?.into_inner().applied.unwrap_or_default(),
        () = ticks => return Err(Error::internal("unreachable: ticks have no end")),
    };
    if applied.digest != layer.diff_id {
        return Err(Error::internal(format!(
            "wrong diff id calculated on extraction {:?}",
            applied.digest
        )));
    }
    Ok(())
}

/// Commits under the chain id. Says no when somebody else has done it.
async fn commit(scope: &Scope, layer: &Layer, key: &str) -> Result<bool> {
    let request = CommitSnapshotRequest {
        snapshotter: scope.store.l3.snapshotter().to_owned(),
        name: layer.chain_id.clone(),
        key: key.to_owned(),
        labels: HashMap::from([(SNAPSHOT_REF.to_owned(), layer.chain_id.clone())]),
        ..CommitSnapshotRequest::default()
    };
    match scope.store.l3.snapshots().commit(request).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => Ok(false),
        Err(status) => Err(Error::from(status).context(format!("failed to commit snapshot {key:?}"))),
    }
}
