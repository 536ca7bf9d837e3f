//! From layers to file systems and back.

use containerd_grpc::containerd::services::diff::v1::diff_server::Diff;
use containerd_proto::containerd::services::diff::v1 as api;
use containerd_rs_core::{DiffRequest, Mount};
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{blocking, context, missing};
use crate::serve::status;
use crate::stores::Stores;

pub(crate) struct DiffService {
    pub(crate) stores: Stores,
}

fn mounts(mounts: Vec<containerd_proto::containerd::types::Mount>) -> Vec<Mount> {
    mounts.into_iter().map(convert::mount).collect()
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn apply(&self, request: Request<api::ApplyRequest>) -> Result<Response<api::ApplyResponse>, Status> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        let layer = convert::descriptor(request.diff.ok_or_else(|| missing("diff"))?).map_err(|e| status(&e))?;
        let (applier, mounts) = (self.stores.applier.clone(), mounts(request.mounts));
        let applied = blocking(move || applier.apply(&ctx, &layer, &mounts)).await?;
        Ok(Response::new(api::ApplyResponse {
            applied: Some(convert::descriptor_out(applied)),
        }))
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>, Status> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        let comparer = self.stores.comparer.clone();
        let (left, right) = (mounts(request.left), mounts(request.right));
        let wanted = DiffRequest {
            media_type: request.media_type,
            reference: request.r#ref,
            labels: convert::labels(request.labels),
            source_date_epoch: request.source_date_epoch.map(convert::time),
        };
        let diff = blocking(move || comparer.compare(&ctx, &left, &right, &wanted)).await?;
        Ok(Response::new(api::DiffResponse {
            diff: Some(convert::descriptor_out(diff)),
        }))
    }
}
