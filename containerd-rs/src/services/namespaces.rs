//! Namespaces. These calls are about all of them, and need no namespace themselves.

use containerd_grpc::containerd::services::namespaces::v1::namespaces_server::Namespaces;
use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::namespaces::v1 as api;
use containerd_rs_core::Namespace;
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{blocking, missing};
use crate::events::Exchange;
use crate::stores::Stores;

pub(crate) struct NamespacesService {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
}

fn from_api(value: Option<api::Namespace>) -> Result<Namespace, Status> {
    let value = value.ok_or_else(|| missing("namespace"))?;
    Ok(Namespace {
        name: value.name,
        labels: convert::labels(value.labels),
    })
}

fn to_api(value: Namespace) -> api::Namespace {
    api::Namespace {
        name: value.name,
        labels: convert::labels_out(value.labels),
    }
}

#[tonic::async_trait]
impl Namespaces for NamespacesService {
    async fn get(
        &self,
        request: Request<api::GetNamespaceRequest>,
    ) -> Result<Response<api::GetNamespaceResponse>, Status> {
        let store = self.stores.namespaces.clone();
        let namespace = blocking(move || store.get(&request.into_inner().name)).await?;
        Ok(Response::new(api::GetNamespaceResponse {
            namespace: Some(to_api(namespace)),
        }))
    }

    /// The filter of the request is not looked at, as containerd does not.
    async fn list(
        &self,
        _: Request<api::ListNamespacesRequest>,
    ) -> Result<Response<api::ListNamespacesResponse>, Status> {
        let store = self.stores.namespaces.clone();
        let namespaces = blocking(move || store.list()).await?;
        Ok(Response::new(api::ListNamespacesResponse {
            namespaces: namespaces.into_iter().map(to_api).collect(),
        }))
    }

    async fn create(
        &self,
        request: Request<api::CreateNamespaceRequest>,
    ) -> Result<Response<api::CreateNamespaceResponse>, Status> {
        let namespace = from_api(request.into_inner().namespace)?;
        let (store, record) = (self.stores.namespaces.clone(), namespace.clone());
        blocking(move || store.create(&record)).await?;
        let namespace = to_api(namespace);
        let event = event::NamespaceCreate {
            name: namespace.name.clone(),
            labels: namespace.labels.clone(),
        };
        self.exchange.emit(&namespace.name, "/namespaces/create", &event);
        Ok(Response::new(api::CreateNamespaceResponse {
            namespace: Some(namespace),
        }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateNamespaceRequest>,
    ) -> Result<Response<api::UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let namespace = from_api(request.namespace)?;
        let fields = request.update_mask.unwrap_or_default().paths;
        let store = self.stores.namespaces.clone();
        let namespace = to_api(blocking(move || store.update(&namespace, &fields)).await?);
        let event = event::NamespaceUpdate {
            name: namespace.name.clone(),
            labels: namespace.labels.clone(),
        };
        self.exchange.emit(&namespace.name, "/namespaces/update", &event);
        Ok(Response::new(api::UpdateNamespaceResponse {
            namespace: Some(namespace),
        }))
    }

    async fn delete(&self, request: Request<api::DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let name = request.into_inner().name;
        let (store, gone) = (self.stores.namespaces.clone(), name.clone());
        blocking(move || store.delete(&gone)).await?;
        self.exchange.emit(
            &name,
            "/namespaces/delete",
            &event::NamespaceDelete { name: name.clone() },
        );
        Ok(Response::new(()))
    }
}
