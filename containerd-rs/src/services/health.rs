//! gRPC's health protocol. An engine that answers at all serves.

use std::pin::Pin;

use containerd_grpc::grpc::health::v1::health_server::Health;
use containerd_proto::grpc::health::v1::health_check_response::ServingStatus;
use containerd_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Says that we serve until the engine ends.
pub(crate) struct HealthService {
    pub(crate) ended: CancellationToken,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        // The empty name is the whole server; there are no names besides.
        match request.into_inner().service.as_str() {
            "" => Ok(Response::new(answer(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.into_inner().service.is_empty();
        let first = if known {
            ServingStatus::Serving
        } else {
            ServingStatus::ServiceUnknown
        };
        let ended = self.ended.clone();
        let (send, receive) = tokio::sync::mpsc::channel(2);
        tokio::spawn(async move {
            let mut next = first;
            // A watcher that is gone is told nothing more.
            while send.send(Ok(answer(next))).await.is_ok() && next != ServingStatus::NotServing {
                tokio::select! {
                    () = ended.cancelled() => next = ServingStatus::NotServing,
                    () = send.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
            receive,
        ))))
    }
}
