//! containerd's gRPC services, one module each.

mod convert;
mod events;
mod health;
mod request;
mod version;

use containerd_grpc::containerd::services::events::v1::events_server::EventsServer;
use containerd_grpc::containerd::services::version::v1::version_server::VersionServer;
use containerd_grpc::grpc::health::v1::health_server::HealthServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::Config;
use crate::events::Exchange;

pub use version::VERSION;

/// What the services are made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) exchange: Exchange,
    pub(crate) ended: CancellationToken,
}

/// All services, to be served on any number of listeners.
pub(crate) fn routes(config: &Config, parts: &Parts) -> Routes {
    let limit = config.max_message;
    macro_rules! sized {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit)
        };
    }
    let Parts { exchange, ended } = parts.clone();
    Routes::default()
        .add_service(sized!(VersionServer, version::VersionService))
        .add_service(sized!(HealthServer, health::HealthService { ended: ended.clone() }))
        .add_service(sized!(EventsServer, events::EventsService { exchange, ended }))
}
