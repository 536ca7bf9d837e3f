//! Publish, forward, subscribe.

use std::pin::Pin;
use std::sync::Arc;

use containerd_grpc::containerd::services::events::v1::events_server::Events;
use containerd_proto::containerd::services::events::v1::{ForwardRequest, PublishRequest, SubscribeRequest};
use containerd_proto::containerd::types as api;
use containerd_rs_core::{Envelope, EventPublisher as _, Timestamp};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{context, missing};
use crate::events::{Exchange, QUEUE, validate_topic};
use crate::serve::status;

pub(crate) struct EventsService {
    pub(crate) exchange: Exchange,
    pub(crate) ended: CancellationToken,
}

#[tonic::async_trait]
impl Events for EventsService {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        validate_topic(&request.topic)
            .map_err(|e| status(&e.context(format!("envelope topic {:?}", request.topic))))?;
        self.exchange.publish(Envelope {
            timestamp: Timestamp::now(),
            namespace: ctx.namespace,
            topic: request.topic,
            event: request.event.map(convert::any),
        });
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = request.into_inner().envelope.ok_or_else(|| missing("envelope"))?;
        self.exchange
            .forward(convert::envelope(envelope))
            .map_err(|e| status(&e))?;
        Ok(Response::new(()))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<api::Envelope, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut events = self
            .exchange
            .subscribe(&request.into_inner().filters)
            .map_err(|e| status(&e))?;
        let ended = self.ended.clone();
        let (send, receive) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = send.closed() => return,
                    () = ended.cancelled() => return,
                };
                let Some(event) = event else {
                    let text = format!("more than {QUEUE} events were not read in time");
                    // If even this does not get through, the subscriber is gone.
                    let _ = send.send(Err(Status::resource_exhausted(text))).await;
                    return;
                };
                let event = Arc::unwrap_or_clone(event);
                if send.send(Ok(convert::envelope_out(event))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
            receive,
        ))))
    }
}
