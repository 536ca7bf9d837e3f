//! What shims call: their events.

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_ttrpc::containerd::services::events::ttrpc::v1::{Events, EventsClient, EventsServer};
use containerd_ttrpc::{Code, Context, Server, Status};

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

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

/// Serves shims until the engine ends; their connections end then too, so that they connect to whoever comes next.
pub(crate) async fn shims(listener: UnixListener, manager: Manager, ended: CancellationToken) {
    let events = EventsServer::new(Arc::new(Forwarding(manager)));
    let server = Server::new().with(EventsClient::SERVICE, Arc::new(events));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, ended) = (server.clone(), ended.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = server.serve_connection(stream) => {}
                        () = ended.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                // Lack of descriptors or memory passes; a shim that is told nothing tries again.
                tracing::warn!(%error, "accept from a shim");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
