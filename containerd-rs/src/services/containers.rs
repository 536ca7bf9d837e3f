//! Records of containers.

use std::pin::Pin;

use containerd_grpc::containerd::services::containers::v1::containers_server::Containers;
use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::containers::v1 as api;
use containerd_rs_core::{Container, Runtime};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{blocking, context, missing};
use crate::events::Exchange;
use crate::stores::Stores;

pub(crate) struct ContainersService {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
}

fn from_api(value: api::Container) -> Container {
    let runtime = value.runtime.unwrap_or_default();
    Container {
        id: value.id,
        labels: convert::labels(value.labels),
        image: value.image,
        runtime: Runtime {
            name: runtime.name,
            options: runtime.options.map(convert::any),
        },
        spec: value.spec.map(convert::any),
        snapshotter: value.snapshotter,
        snapshot_key: value.snapshot_key,
        created_at: value.created_at.map(convert::time).unwrap_or_default(),
        updated_at: value.updated_at.map(convert::time).unwrap_or_default(),
        extensions: convert::anys(value.extensions),
        sandbox: value.sandbox,
    }
}

fn to_api(value: Container) -> api::Container {
    let options = value.runtime.options.map(convert::any_out);
    api::Container {
        id: value.id,
        labels: convert::labels_out(value.labels),
        image: value.image,
        runtime: Some(api::container::Runtime {
            name: value.runtime.name,
            options,
        }),
        spec: value.spec.map(convert::any_out),
        snapshotter: value.snapshotter,
        snapshot_key: value.snapshot_key,
        created_at: Some(convert::time_out(value.created_at)),
        updated_at: Some(convert::time_out(value.updated_at)),
        extensions: convert::anys_out(value.extensions),
        sandbox: value.sandbox,
    }
}

impl ContainersService {
    async fn all<T>(&self, request: &Request<T>, filters: Vec<String>) -> Result<Vec<Container>, Status> {
        let ctx = context(request)?;
        let store = self.stores.containers.clone();
        blocking(move || store.list(&ctx, &filters)).await
    }
}

#[tonic::async_trait]
impl Containers for ContainersService {
    async fn get(
        &self,
        request: Request<api::GetContainerRequest>,
    ) -> Result<Response<api::GetContainerResponse>, Status> {
        let ctx = context(&request)?;
        let store = self.stores.containers.clone();
        let container = blocking(move || store.get(&ctx, &request.into_inner().id)).await?;
        Ok(Response::new(api::GetContainerResponse {
            container: Some(to_api(container)),
        }))
    }

    async fn list(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<api::ListContainersResponse>, Status> {
        let filters = request.get_ref().filters.clone();
        let containers = self.all(&request, filters).await?.into_iter().map(to_api).collect();
        Ok(Response::new(api::ListContainersResponse { containers }))
    }

    type ListStreamStream = Pin<Box<dyn Stream<Item = Result<api::ListContainerMessage, Status>> + Send>>;

    async fn list_stream(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        let filters = request.get_ref().filters.clone();
        let containers = self.all(&request, filters).await?;
        let messages = containers.into_iter().map(|container| {
            Ok(api::ListContainerMessage {
                container: Some(to_api(container)),
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn create(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Result<Response<api::CreateContainerResponse>, Status> {
        let ctx = context(&request)?;
        let container = from_api(request.into_inner().container.ok_or_else(|| missing("container"))?);
        let (store, namespace) = (self.stores.containers.clone(), ctx.namespace.clone());
        let container = to_api(blocking(move || store.create(&ctx, container)).await?);
        let runtime = container.runtime.clone().unwrap_or_default();
        let event = event::ContainerCreate {
            id: container.id.clone(),
            image: container.image.clone(),
            runtime: Some(event::container_create::Runtime {
                name: runtime.name,
                options: runtime.options,
            }),
        };
        self.exchange.emit(&namespace, "/containers/create", &event);
        Ok(Response::new(api::CreateContainerResponse {
            container: Some(container),
        }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateContainerRequest>,
    ) -> Result<Response<api::UpdateContainerResponse>, Status> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        let container = from_api(request.container.ok_or_else(|| missing("container"))?);
        let fields = request.update_mask.unwrap_or_default().paths;
        let (store, namespace) = (self.stores.containers.clone(), ctx.namespace.clone());
        let container = to_api(blocking(move || store.update(&ctx, container, &fields)).await?);
        let event = event::ContainerUpdate {
            id: container.id.clone(),
            image: container.image.clone(),
            labels: container.labels.clone(),
            snapshot_key: container.snapshot_key.clone(),
        };
        self.exchange.emit(&namespace, "/containers/update", &event);
        Ok(Response::new(api::UpdateContainerResponse {
            container: Some(container),
        }))
    }

    async fn delete(&self, request: Request<api::DeleteContainerRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let id = request.into_inner().id;
        let (store, namespace) = (self.stores.containers.clone(), ctx.namespace.clone());
        let event = event::ContainerDelete { id: id.clone() };
        blocking(move || store.delete(&ctx, &id)).await?;
        self.exchange.emit(&namespace, "/containers/delete", &event);
        Ok(Response::new(()))
    }
}
