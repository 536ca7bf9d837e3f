//! `containerd-rs publish`: how old shims send events. The event is an `Any` on standard input.

use std::path::{Path, PathBuf};

use containerd_grpc::NAMESPACE_HEADER;
use containerd_grpc::containerd::services::events::v1::events_client::EventsClient;
use containerd_proto::containerd::services::events::v1::PublishRequest;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use super::Result;
use super::args::PublishArgs;

/// The longest event, in bytes.
const LONGEST: u64 = 4 << 20;

/// Sends one event to the daemon that serves `address`.
pub(super) async fn publish(address: &Path, args: &PublishArgs) -> Result<()> {
    let mut bytes = Vec::new();
    tokio::io::stdin().take(LONGEST).read_to_end(&mut bytes).await?;
    let event = prost_types::Any::decode(bytes.as_slice())?;
    let path = address.to_owned();
    let channel = Endpoint::from_static("http://containerd-rs.invalid")
        .connect_with_connector(Connect(path))
        .await
        .map_err(|e| format!("connect to {}: {e}", address.display()))?;
    let mut request = tonic::Request::new(PublishRequest {
        topic: args.topic.clone(),
        event: Some(event),
    });
    request.metadata_mut().insert(NAMESPACE_HEADER, args.namespace.parse()?);
    EventsClient::new(channel).publish(request).await?;
    Ok(())
}

/// Connects to a unix socket, whatever the address asked for.
struct Connect(PathBuf);

impl tower_service::Service<tonic::transport::Uri> for Connect {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::transport::Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}
