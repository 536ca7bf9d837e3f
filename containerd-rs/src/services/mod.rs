//! containerd's gRPC services, one module each.

mod containers;
mod content;
pub(crate) mod convert;
mod diff;
mod events;
mod health;
mod images;
mod introspection;
mod leases;
mod listing;
mod namespaces;
pub(crate) mod request;
mod snapshots;
mod tasks;
mod version;

use containerd_grpc::containerd::services::containers::v1::containers_server::ContainersServer;
use containerd_grpc::containerd::services::content::v1::content_server::ContentServer;
use containerd_grpc::containerd::services::diff::v1::diff_server::DiffServer;
use containerd_grpc::containerd::services::events::v1::events_server::EventsServer;
use containerd_grpc::containerd::services::images::v1::images_server::ImagesServer;
use containerd_grpc::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use containerd_grpc::containerd::services::leases::v1::leases_server::LeasesServer;
use containerd_grpc::containerd::services::namespaces::v1::namespaces_server::NamespacesServer;
use containerd_grpc::containerd::services::snapshots::v1::snapshots_server::SnapshotsServer;
use containerd_grpc::containerd::services::tasks::v1::tasks_server::TasksServer;
use containerd_grpc::containerd::services::version::v1::version_server::VersionServer;
use containerd_grpc::grpc::health::v1::health_server::HealthServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::Config;
use crate::events::Exchange;
use crate::gc::Gc;
use crate::stores::Stores;
use crate::tasks::Manager;

pub use version::VERSION;

/// What the services are made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
    pub(crate) manager: Manager,
    pub(crate) gc: Gc,
    pub(crate) ended: CancellationToken,
}

/// All services, to be served on any number of listeners.
///
/// # Errors
/// `Io` when the engine's identifier cannot be kept.
pub(crate) fn routes(config: &Config, parts: &Parts) -> containerd_rs_core::Result<Routes> {
    let limit = config.max_message;
    macro_rules! sized {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit)
        };
    }
    let Parts {
        stores,
        exchange,
        manager,
        gc,
        ended,
    } = parts;
    let (stores, exchange, manager, gc, ended) = (
        || stores.clone(),
        || exchange.clone(),
        || manager.clone(),
        || gc.clone(),
        || ended.clone(),
    );
    let introspection = introspection::service(config, manager(), &stores())?;
    let containers = containers::ContainersService {
        stores: stores(),
        exchange: exchange(),
    };
    let content = content::ContentService {
        stores: stores(),
        exchange: exchange(),
    };
    let images = images::ImagesService {
        stores: stores(),
        exchange: exchange(),
        gc: gc(),
    };
    let namespaces = namespaces::NamespacesService {
        stores: stores(),
        exchange: exchange(),
    };
    let snapshots = snapshots::SnapshotsService {
        stores: stores(),
        exchange: exchange(),
        gc: gc(),
    };
    Ok(Routes::default()
        .add_service(sized!(ContainersServer, containers))
        .add_service(sized!(ContentServer, content))
        .add_service(sized!(DiffServer, diff::DiffService { stores: stores() }))
        .add_service(sized!(
            EventsServer,
            events::EventsService {
                exchange: exchange(),
                ended: ended()
            }
        ))
        .add_service(sized!(HealthServer, health::HealthService { ended: ended() }))
        .add_service(sized!(ImagesServer, images))
        .add_service(sized!(IntrospectionServer, introspection))
        .add_service(sized!(
            LeasesServer,
            leases::LeasesService {
                stores: stores(),
                gc: gc()
            }
        ))
        .add_service(sized!(NamespacesServer, namespaces))
        .add_service(sized!(SnapshotsServer, snapshots))
        .add_service(sized!(
            TasksServer,
            tasks::TasksService {
                manager: manager(),
                stores: stores()
            }
        ))
        .add_service(sized!(VersionServer, version::VersionService)))
}
