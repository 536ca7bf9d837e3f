//! The engine: everything started, served and stopped together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};

use crate::events::Exchange;
use crate::lock::DirectoryLock;
use crate::serve::{self, Memory};
use crate::services::{self, Parts};
use crate::{Config, EngineError};

/// How long calls under way may take to end at shutdown.
const PATIENCE: Duration = Duration::from_secs(3);
/// HTTP/2 windows: a few of the pieces that content is moved in.
const WINDOW: u32 = 8 << 20;

/// A running lifecycle manager. Clones are the same one; it ends with [`Engine::shutdown`], and containers go on after that.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Config,
    routes: Routes,
    memory: Memory,
    ended: CancellationToken,
    servers: tokio::sync::Mutex<JoinSet<()>>,
    sockets: std::sync::Mutex<Vec<PathBuf>>,
    _locks: [DirectoryLock; 2],
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes the directories, opens the stores, finds the tasks that run already, and serves over memory and to shims.
    /// Requests are taken at once; those for a task that is not found again yet wait for it.
    ///
    /// # Errors
    /// [`EngineError::InUse`] when another engine has one of the directories; what opening the stores and sockets answers.
    pub async fn start(config: Config) -> Result<Self, EngineError> {
        let locks = take_directories(&config)?;
        let ended = CancellationToken::new();
        let parts = Parts {
            exchange: Exchange::default(),
            ended: ended.clone(),
        };
        let (memory, connections) = serve::memory();
        let routes = services::routes(&config, &parts);
        let engine = Engine(Arc::new(Inner {
            config,
            routes,
            memory,
            ended,
            servers: tokio::sync::Mutex::new(JoinSet::new()),
            sockets: std::sync::Mutex::default(),
            _locks: locks,
        }));
        engine.spawn_server(ReceiverStream::new(connections).map_ok_io()).await;
        Ok(engine)
    }

    /// The configuration it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// A channel to the services over memory. It connects at the first call; any number of channels may be asked for.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.0.memory.channel()
    }

    /// Serves gRPC on [`Config::address`], with mode 0660, until shutdown. Returns when clients may connect.
    ///
    /// # Errors
    /// [`EngineError::Served`] when somebody answers there already; what binding answers.
    pub async fn serve(&self) -> Result<(), EngineError> {
        let address = self.0.config.address.clone();
        self.serve_unix(&address).await
    }

    /// As [`Engine::serve`], on another path.
    ///
    /// # Errors
    /// As [`Engine::serve`].
    pub async fn serve_unix(&self, path: &Path) -> Result<(), EngineError> {
        let listener = self.bind(path).await?;
        self.spawn_server(UnixListenerStream::new(listener)).await;
        tracing::info!(address = %path.display(), "serving gRPC");
        Ok(())
    }

    /// Ends all servers and lets calls under way end, within seconds. Containers and their shims go on.
    pub async fn shutdown(&self) {
        self.0.ended.cancel();
        let mut servers = self.0.servers.lock().await;
        let all = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::debug!("some connections did not end in time");
        }
        servers.shutdown().await;
        let sockets = std::mem::take(&mut *self.0.sockets.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for path in sockets {
            // A socket that is gone already is what we want.
            let _ = std::fs::remove_file(path);
        }
    }

    async fn bind(&self, path: &Path) -> Result<UnixListener, EngineError> {
        let listener = serve::bind(path, self.0.config.socket_owner).await?;
        self.0
            .sockets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(path.to_owned());
        Ok(listener)
    }

    async fn spawn_server<S, C>(&self, incoming: S)
    where
        S: tokio_stream::Stream<Item = std::io::Result<C>> + Send + 'static,
        C: tokio::io::AsyncRead + tokio::io::AsyncWrite + tonic::transport::server::Connected + Unpin + Send + 'static,
    {
        let server = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .trace_fn(span)
            .add_routes(self.0.routes.clone());
        let ended = self.0.ended.clone();
        self.0.servers.lock().await.spawn(async move {
            if let Err(error) = server
                .serve_with_incoming_shutdown(incoming, ended.cancelled_owned())
                .await
            {
                tracing::error!(%error, "a gRPC server ended");
            }
        });
    }
}

/// The span of a request: which method, in which namespace.
fn span<T>(request: &tonic::codegen::http::Request<T>) -> tracing::Span {
    let namespace = request
        .headers()
        .get(containerd_grpc::NAMESPACE_HEADER)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let method = request.uri().path().rsplit('.').next().unwrap_or_default();
    tracing::info_span!("grpc", method, namespace)
}

/// Makes and locks root and state. Their modes are containerd's: what is stored is for its owner only, and bundles may be
/// passed through, not listed (CVE-2024-25621).
fn take_directories(config: &Config) -> Result<[DirectoryLock; 2], EngineError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    for (field, path, mode) in [("root", &config.root, 0o700), ("state", &config.state, 0o711)] {
        if !path.is_absolute() {
            return Err(EngineError::Path {
                field,
                path: path.clone(),
                problem: "must be an absolute path",
            });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(path)
            .map_err(EngineError::io("mkdir", path))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(EngineError::io("chmod", path))?;
    }
    if config.root == config.state {
        let problem = "must not be the root directory as well";
        return Err(EngineError::Path {
            field: "state",
            path: config.state.clone(),
            problem,
        });
    }
    Ok([DirectoryLock::take(&config.root)?, DirectoryLock::take(&config.state)?])
}

/// Connections that cannot fail to arrive, as a server wants them.
trait MapOkIo: Sized {
    fn map_ok_io(
        self,
    ) -> futures_util::stream::Map<Self, fn(tokio::io::DuplexStream) -> std::io::Result<tokio::io::DuplexStream>>;
}

impl MapOkIo for ReceiverStream<tokio::io::DuplexStream> {
    fn map_ok_io(
        self,
    ) -> futures_util::stream::Map<Self, fn(tokio::io::DuplexStream) -> std::io::Result<tokio::io::DuplexStream>> {
        futures_util::StreamExt::map(self, Ok)
    }
}
