//! What shims call: their events.

use std::sync::Arc;

use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_ttrpc::containerd::services::events::ttrpc::v1::{Events, EventsClient, EventsServer};
use containerd_ttrpc::{Code, Context, Server, Status};

use crate::services::convert;
use crate::tasks::Manager;

struct Forwarding(Manager);

impl Events for Forwarding {
    async fn forward(&self, _: &Context, request: ForwardRequest) -> Result<(), Status> {
        let envelope = request
            .envelope
            .ok_or_else(|| Status::new(Code::InvalidArgument, "envelope must be set"))?;
        self.0
            .forward(convert::envelope(envelope))
            .map_err(|e| Status::new(Code::InvalidArgument, e.to_string()))
    }
}

/// The server for shims.
pub(crate) fn shims(manager: Manager) -> Server {
    Server::new().with(
        EventsClient::SERVICE,
        Arc::new(EventsServer::new(Arc::new(Forwarding(manager)))),
    )
}
