//! Leases: what is held until somebody lets go.

use containerd_grpc::containerd::services::leases::v1::leases_server::Leases;
use containerd_proto::containerd::services::leases::v1 as api;
use containerd_rs_core::{Lease, Resource, Timestamp};
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{blocking, context, missing};
use crate::gc::Gc;
use crate::stores::Stores;

pub(crate) struct LeasesService {
    pub(crate) stores: Stores,
    pub(crate) gc: Gc,
}

fn to_api(lease: Lease) -> api::Lease {
    api::Lease {
        id: lease.id,
        created_at: Some(convert::time_out(lease.created_at)),
        labels: convert::labels_out(lease.labels),
    }
}

fn resource(value: Option<api::Resource>) -> Result<Resource, Status> {
    let value = value.ok_or_else(|| missing("resource"))?;
    Ok(Resource {
        id: value.id,
        kind: value.r#type,
    })
}

/// A name nobody else has, for a lease without one.
fn made_up() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let now = Timestamp::now();
    let count = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}-{:09}-{:x}-{count:x}", now.seconds, now.nanos, std::process::id())
}

#[tonic::async_trait]
impl Leases for LeasesService {
    async fn create(&self, request: Request<api::CreateRequest>) -> Result<Response<api::CreateResponse>, Status> {
        let ctx = context(&request)?;
        let api::CreateRequest { id, labels } = request.into_inner();
        let id = if id.is_empty() { made_up() } else { id };
        let (store, labels) = (self.stores.leases.clone(), convert::labels(labels));
        let lease = blocking(move || store.create(&ctx, &id, &labels)).await?;
        Ok(Response::new(api::CreateResponse {
            lease: Some(to_api(lease)),
        }))
    }

    async fn delete(&self, request: Request<api::DeleteRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::DeleteRequest { id, sync } = request.into_inner();
        let store = self.stores.leases.clone();
        blocking(move || store.delete(&ctx, &id)).await?;
        if sync {
            self.gc.now().await?;
        }
        Ok(Response::new(()))
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListResponse>, Status> {
        let ctx = context(&request)?;
        let store = self.stores.leases.clone();
        let leases = blocking(move || store.list(&ctx, &request.into_inner().filters)).await?;
        Ok(Response::new(api::ListResponse {
            leases: leases.into_iter().map(to_api).collect(),
        }))
    }

    async fn add_resource(&self, request: Request<api::AddResourceRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::AddResourceRequest { id, resource: held } = request.into_inner();
        let (store, held) = (self.stores.leases.clone(), resource(held)?);
        blocking(move || store.add_resource(&ctx, &id, &held)).await?;
        Ok(Response::new(()))
    }

    async fn delete_resource(&self, request: Request<api::DeleteResourceRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::DeleteResourceRequest { id, resource: held } = request.into_inner();
        let (store, held) = (self.stores.leases.clone(), resource(held)?);
        blocking(move || store.delete_resource(&ctx, &id, &held)).await?;
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<api::ListResourcesRequest>,
    ) -> Result<Response<api::ListResourcesResponse>, Status> {
        let ctx = context(&request)?;
        let store = self.stores.leases.clone();
        let resources = blocking(move || store.resources(&ctx, &request.into_inner().id)).await?;
        let resources = resources
            .into_iter()
            .map(|held| api::Resource {
                id: held.id,
                r#type: held.kind,
            })
            .collect();
        Ok(Response::new(api::ListResourcesResponse { resources }))
    }
}
