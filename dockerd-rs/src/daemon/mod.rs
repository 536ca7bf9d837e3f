//! Puts the parts together, serves, and leaves in order.

mod listen;
mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::api;
use crate::config::{Config, Flags};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::l3::L3;
use listen::Listener;

/// Sends logs to standard error, in the level and format that the flags say.
pub fn log_to_stderr(flags: &Flags) {
    let level = match flags.log_level.as_str() {
        _ if flags.debug => "debug",
        "fatal" | "panic" => "error",
        level => level,
    };
    let filter =
        EnvFilter::try_new(format!("{level},h2=warn,hyper=warn,tower=warn")).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let outcome = if flags.log_format == "json" {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logging is already set up");
    }
}

/// Runs the daemon until it is told to leave. Containers go on.
///
/// # Errors
/// What keeps it from serving.
pub async fn run(config: Config) -> Result<()> {
    prepare_directories(&config)?;
    let _pidfile = listen::PidFile::write(config.flags.pidfile.as_deref())?;
    // Bound before anything is started, so that a second daemon on the same socket changes nothing.
    let listeners = listen::bind(&config)?;
    let (l3, manager) = match &config.flags.containerd {
        Some(address) => (L3::connect(address, &config.namespace).await?, None),
        None => {
            let manager = start_manager(&config).await?;
            (L3::new(manager.channel(), &config.namespace, None)?, Some(manager))
        }
    };
    let engine = Engine::open(config, l3).await?;
    if let Some(address) = engine.config.flags.metrics_addr.clone() {
        metrics::serve(&address, Arc::clone(&engine)).await?;
    }
    let router = api::router(engine);
    let (stop, stopped) = watch::channel(false);
    for listener in listeners {
        tokio::spawn(accept(listener, router.clone(), stopped.clone()));
    }
    tracing::info!("API is served");
    wait_for_signal().await?;
    tracing::info!("leaving; containers go on");
    let _ = stop.send(true);
    if let Some(manager) = manager {
        manager.shutdown().await;
    }
    Ok(())
}

/// The manager in this process. Its socket serves shims and whoever wants to look with `ctr`.
async fn start_manager(config: &Config) -> Result<containerd_rs::Engine> {
    let (root, state) = (config.data_root.join("containerd"), config.exec_root.join("containerd"));
    let address = state.join("containerd.sock");
    let mut settings = containerd_rs::Config::new(root, state, address);
    settings.debug = config.flags.debug;
    if let Some(directory) = config.flags.shim.as_deref().and_then(std::path::Path::parent) {
        settings.shim_directories.insert(0, directory.to_owned());
    }
    let failed = |e: containerd_rs::EngineError| Error::failed("containerd-rs", e);
    let manager = containerd_rs::Engine::start(settings).await.map_err(failed)?;
    manager.serve().await.map_err(failed)?;
    Ok(manager)
}

fn prepare_directories(config: &Config) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for (path, mode) in [(&config.data_root, 0o710), (&config.exec_root, 0o711)] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|e| Error::failed(format!("mkdir {}", path.display()), e))?;
    }
    Ok(())
}

async fn wait_for_signal() -> Result<()> {
    let open = |kind| signal(kind).map_err(|e| Error::failed("signal handler", e));
    let (mut term, mut int) = (open(SignalKind::terminate())?, open(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

async fn accept(listener: Listener, router: Router, mut stopped: watch::Receiver<bool>) {
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            _ = stopped.changed() => return,
        };
        match connection {
            Ok(listen::Stream::Unix(stream)) => drop(tokio::spawn(serve(stream, router.clone()))),
            Ok(listen::Stream::Tcp(stream)) => drop(tokio::spawn(serve(stream, router.clone()))),
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(api::serve(router, request.map(Body::new)).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(true);
    if let Err(error) = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "connection");
    }
}

/// The router over a state: for programs that serve it themselves.
pub fn router(engine: Arc<Engine>) -> Router {
    api::router(engine)
}
