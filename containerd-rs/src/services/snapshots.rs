//! Snapshots, by the name of their snapshotter.

use std::pin::Pin;

use containerd_grpc::containerd::services::snapshots::v1::snapshots_server::Snapshots;
use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::snapshots::v1 as api;
use containerd_rs_core::{Ctx, Labels, Mount, SnapshotInfo, SnapshotKind, Snapshotter};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert;
use super::listing::{BATCH, pages};
use super::request::{blocking, context, missing};
use crate::events::Exchange;
use crate::gc::Gc;
use crate::serve::status;
use crate::stores::Stores;

pub(crate) struct SnapshotsService {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
    pub(crate) gc: Gc,
}

fn kind(kind: SnapshotKind) -> api::Kind {
    match kind {
        SnapshotKind::View => api::Kind::View,
        SnapshotKind::Active => api::Kind::Active,
        SnapshotKind::Committed => api::Kind::Committed,
    }
}

fn to_api(info: SnapshotInfo) -> api::Info {
    api::Info {
        name: info.name,
        parent: info.parent,
        kind: kind(info.kind).into(),
        created_at: Some(convert::time_out(info.created_at)),
        updated_at: Some(convert::time_out(info.updated_at)),
        labels: convert::labels_out(info.labels),
    }
}

/// For an update only name and labels matter.
fn from_api(info: api::Info) -> SnapshotInfo {
    let kind = match info.kind() {
        api::Kind::View => SnapshotKind::View,
        api::Kind::Active => SnapshotKind::Active,
        api::Kind::Committed | api::Kind::Unknown => SnapshotKind::Committed,
    };
    SnapshotInfo {
        name: info.name,
        parent: info.parent,
        kind,
        labels: convert::labels(info.labels),
        created_at: info.created_at.map(convert::time).unwrap_or_default(),
        updated_at: info.updated_at.map(convert::time).unwrap_or_default(),
    }
}

fn mounts(mounts: Vec<Mount>) -> Vec<containerd_proto::containerd::types::Mount> {
    mounts.into_iter().map(convert::mount_out).collect()
}

/// What makes a snapshot by key and parent: `prepare` or `view`.
type Make = fn(&dyn Snapshotter, &Ctx, &str, &str, &Labels) -> containerd_rs_core::Result<Vec<Mount>>;

impl SnapshotsService {
    /// `Prepare` and `View` ask for the same, and containerd has one event for both.
    async fn make(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
        make: Make,
    ) -> Result<Vec<containerd_proto::containerd::types::Mount>, Status> {
        let ctx = context(&request)?;
        let api::PrepareSnapshotRequest {
            snapshotter,
            key,
            parent,
            labels,
        } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let labels = convert::labels(labels);
        let namespace = ctx.namespace.clone();
        let event = event::SnapshotPrepare {
            key: key.clone(),
            parent: parent.clone(),
            snapshotter,
        };
        let made = blocking(move || make(&*store, &ctx, &key, &parent, &labels)).await?;
        self.exchange.emit(&namespace, "/snapshot/prepare", &event);
        Ok(mounts(made))
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>, Status> {
        let mounts = self.make(request, |store, ctx, key, parent, labels| {
            store.prepare(ctx, key, parent, labels)
        });
        Ok(Response::new(api::PrepareSnapshotResponse { mounts: mounts.await? }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>, Status> {
        let (metadata, extensions, asked) = request.into_parts();
        let asked = api::PrepareSnapshotRequest {
            snapshotter: asked.snapshotter,
            key: asked.key,
            parent: asked.parent,
            labels: asked.labels,
        };
        let request = Request::from_parts(metadata, extensions, asked);
        let mounts = self.make(request, |store, ctx, key, parent, labels| {
            store.view(ctx, key, parent, labels)
        });
        Ok(Response::new(api::ViewSnapshotResponse { mounts: mounts.await? }))
    }

    async fn mounts(&self, request: Request<api::MountsRequest>) -> Result<Response<api::MountsResponse>, Status> {
        let ctx = context(&request)?;
        let api::MountsRequest { snapshotter, key } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let found = blocking(move || store.mounts(&ctx, &key)).await?;
        Ok(Response::new(api::MountsResponse { mounts: mounts(found) }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::CommitSnapshotRequest {
            snapshotter,
            name,
            key,
            labels,
            parent: _,
        } = request.into_inner();
        let (store, labels) = (
            self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?,
            convert::labels(labels),
        );
        let namespace = ctx.namespace.clone();
        let event = event::SnapshotCommit {
            key: key.clone(),
            name: name.clone(),
            snapshotter,
        };
        blocking(move || store.commit(&ctx, &name, &key, &labels)).await?;
        self.exchange.emit(&namespace, "/snapshot/commit", &event);
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::RemoveSnapshotRequest { snapshotter, key } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let namespace = ctx.namespace.clone();
        let event = event::SnapshotRemove {
            key: key.clone(),
            snapshotter,
        };
        blocking(move || store.remove(&ctx, &key)).await?;
        self.exchange.emit(&namespace, "/snapshot/remove", &event);
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>, Status> {
        let ctx = context(&request)?;
        let api::StatSnapshotRequest { snapshotter, key } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let info = blocking(move || store.stat(&ctx, &key)).await?;
        Ok(Response::new(api::StatSnapshotResponse {
            info: Some(to_api(info)),
        }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>, Status> {
        let ctx = context(&request)?;
        let api::UpdateSnapshotRequest {
            snapshotter,
            info,
            update_mask,
        } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let info = from_api(info.ok_or_else(|| missing("info"))?);
        let fields = update_mask.unwrap_or_default().paths;
        let info = blocking(move || store.update(&ctx, &info, &fields)).await?;
        Ok(Response::new(api::UpdateSnapshotResponse {
            info: Some(to_api(info)),
        }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<api::ListSnapshotsResponse, Status>> + Send>>;

    async fn list(&self, request: Request<api::ListSnapshotsRequest>) -> Result<Response<Self::ListStream>, Status> {
        let ctx = context(&request)?;
        let api::ListSnapshotsRequest { snapshotter, filters } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let stream = pages(BATCH, move |each| {
            store.walk(&ctx, &filters, &mut |info| each(to_api(info)))
        });
        let stream = futures_util::StreamExt::map(stream, |page| page.map(|info| api::ListSnapshotsResponse { info }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn usage(&self, request: Request<api::UsageRequest>) -> Result<Response<api::UsageResponse>, Status> {
        let ctx = context(&request)?;
        let api::UsageRequest { snapshotter, key } = request.into_inner();
        let store = self.stores.snapshotter(&snapshotter).map_err(|e| status(&e))?;
        let usage = blocking(move || store.usage(&ctx, &key)).await?;
        Ok(Response::new(api::UsageResponse {
            size: convert::size_out(usage.size),
            inodes: convert::size_out(usage.inodes),
        }))
    }

    async fn cleanup(&self, request: Request<api::CleanupRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let store = self
            .stores
            .snapshotter(&request.into_inner().snapshotter)
            .map_err(|e| status(&e))?;
        self.gc.now().await?;
        blocking(move || store.cleanup(&ctx)).await?;
        Ok(Response::new(()))
    }
}
