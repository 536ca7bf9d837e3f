//! Where the channel leads.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};

use super::L3;
use crate::error::{Error, Result};

impl L3 {
    /// Connects to a containerd on a socket. The channel dials again by itself whenever the connection breaks.
    ///
    /// # Errors
    /// When nobody answers there, or it does not speak containerd's API.
    pub async fn connect(address: &Path, namespace: &str) -> Result<Self> {
        let path: PathBuf = address.to_owned();
        let connector = tower_connector(path.clone());
        let endpoint = Endpoint::from_static("http://containerd.invalid");
        let channel = endpoint.connect_with_connector_lazy(connector);
        let l3 = Self::new(channel, namespace, Some(path))?;
        let what = || format!("cannot reach containerd at {}", address.display());
        let answer = l3
            .version()
            .version(())
            .await
            .map_err(|e| Error::failed(what(), e.message()))?;
        let version = answer.into_inner();
        tracing::info!(address = %address.display(), version = %version.version, "connected to containerd");
        Ok(l3)
    }
}

type Dial = std::pin::Pin<Box<dyn Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send>>;

fn tower_connector(
    path: PathBuf,
) -> impl tower_service::Service<Uri, Response = TokioIo<UnixStream>, Error = std::io::Error, Future = Dial> + Send + 'static
{
    Connector(path)
}

struct Connector(PathBuf);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Dial;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Dial {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    }
}
