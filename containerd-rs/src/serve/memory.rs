//! gRPC over memory: the same services and the same messages as over the socket, for who embeds the engine.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes that may wait in each direction of a connection.
const BUFFER: usize = 256 << 10;
/// HTTP/2 windows that hold several of the largest messages that content is moved in.
const WINDOW: u32 = 8 << 20;

/// Where connections over memory are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Memory(mpsc::Sender<DuplexStream>);

/// The two ends: connections are asked for at the first and arrive at the second.
pub(crate) fn memory() -> (Memory, mpsc::Receiver<DuplexStream>) {
    let (sender, receiver) = mpsc::channel(16);
    (Memory(sender), receiver)
}

impl Memory {
    /// A channel that connects when it is first used, and again when its connection ended.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_static("http://containerd-rs.invalid")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect_with_connector_lazy(self.clone())
    }
}

impl tower_service::Service<Uri> for Memory {
    type Response = TokioIo<DuplexStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connections = self.0.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            connections
                .send(theirs)
                .await
                .map_err(|_| std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "the engine is shut down"))?;
            Ok(TokioIo::new(ours))
        })
    }
}
