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

use containerd_rs_metadata::Metadata;

use crate::events::Exchange;
use crate::gc::Gc;
use crate::lock::DirectoryLock;
use crate::serve::{self, Memory};
use crate::services::{self, Parts};
use crate::stores::Stores;
use crate::tasks::Manager;
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
    gc: Gc,
    manager: Manager,
    exchange: Exchange,
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
        let (locks, stores, metadata) = open(&config).await?;
        let ended = CancellationToken::new();
        let exchange = Exchange::default();
        let manager = Manager::new(&config, stores.clone(), exchange.clone(), ended.clone())?;
        let gc = Gc::start(&config, metadata, exchange.clone())?;
        let parts = Parts {
            stores,
            exchange: exchange.clone(),
            manager: manager.clone(),
            gc: gc.clone(),
            ended: ended.clone(),
        };
        let routes = services::routes(&config, &parts)?;
        let (memory, connections) = serve::memory();
        let engine = Engine(Arc::new(Inner {
            config,
            routes,
            memory,
            ended,
            gc,
            manager: manager.clone(),
            exchange,
            servers: tokio::sync::Mutex::new(JoinSet::new()),
            sockets: std::sync::Mutex::default(),
            _locks: locks,
        }));
        // Shims that kept events for us deliver them as soon as they can; the tasks they are about are known by name then.
        manager.load().await?;
        engine.serve_shims(manager).await?;
        let connections = futures_util::StreamExt::map(ReceiverStream::new(connections), Ok);
        engine.spawn_server(connections).await;
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

    /// What engine and tasks use now, in OpenMetrics text.
    pub async fn metrics(&self) -> String {
        crate::metrics::text(&self.0.manager, &self.0.exchange).await
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
        let gc = self.0.gc.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || gc.stop()).await {
            tracing::error!(%error, "the collector");
        }
        let sockets = std::mem::take(&mut *self.0.sockets.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for path in sockets {
            // A socket that is gone already is what we want.
            let _ = std::fs::remove_file(path);
        }
    }

    async fn serve_shims(&self, manager: Manager) -> Result<(), EngineError> {
        let address = self.0.config.ttrpc_address.clone();
        let listener = self.bind(&address).await?;
        let ended = self.0.ended.clone();
        self.0
            .servers
            .lock()
            .await
            .spawn(serve::shims(listener, manager, ended));
        Ok(())
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
    let span = tracing::info_span!("grpc", method, namespace);
    tracing::debug!(parent: &span, "call");
    span
}

/// Takes the directories and opens what is in them, on a thread that may block.
async fn open(config: &Config) -> Result<([DirectoryLock; 2], Stores, Arc<Metadata>), EngineError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let locks = take_directories(&config)?;
        let (stores, metadata) = Stores::open(&config)?;
        Ok((locks, stores, metadata))
    });
    opened
        .await
        .unwrap_or_else(|error| Err(containerd_rs_core::Error::Internal(error.to_string()).into()))
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
    // The collector would take what the other has in its store for garbage.
    if config.root.join("io.containerd.metadata.v1.bolt/meta.db").exists() {
        let problem = "belongs to containerd, whose database has another format";
        return Err(EngineError::Path {
            field: "root",
            path: config.root.clone(),
            problem,
        });
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
