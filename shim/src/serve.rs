//! The serving process: one thread, until it is told to end.

use std::io::{self, Read as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use containerd_ttrpc::Server;
use containerd_ttrpc::containerd::task::v3::TaskServer;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::logger::Logger;
use crate::reaper::Reaper;
use crate::service::Service;
use crate::shim::Shim;
use crate::start::{GO_FD, LISTENER_FD};
use crate::{socket, sys};

/// How long the end of the shim waits for the manager to take the last events.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves on the socket inherited from `start`.
///
/// # Errors
/// When the process was not started by `start`, or the system refuses what it needs.
pub(crate) fn serve(args: &Args, ttrpc_address: &str) -> Result<()> {
    sys::small_heap();
    sys::close_from(GO_FD.unsigned_abs() + 1).map_err(Error::system("close_range"))?;
    // Executed through a link in /proc, the process would be named after that.
    let _ = rustix::thread::set_name(c"containerd-shim");
    let listener = sys::inherited(LISTENER_FD).map_err(Error::system("inherited socket"))?;
    let go = sys::inherited(GO_FD).map_err(Error::system("inherited pipe"))?;
    Logger::open(Path::new("log"), args.debug).install();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(Error::system("PR_SET_CHILD_SUBREAPER"))?;
    let served = run(args, ttrpc_address, UnixListener::from(listener), go.into());
    if let Err(error) = &served {
        tracing::error!(%error, "shim");
    }
    socket::release(&args.socket)?;
    served
}

fn run(args: &Args, ttrpc_address: &str, listener: UnixListener, mut go: std::fs::File) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_keep_alive(Duration::from_millis(100))
        .thread_stack_size(1024 * 1024)
        .build()
        .map_err(Error::system("runtime"))?;
    runtime.block_on(async {
        let events = Events::new(&args.namespace, ttrpc_address);
        let reaper = Arc::new(Reaper::default());
        let shim = Shim::new(&args.namespace, Arc::clone(&events), Arc::clone(&reaper));
        let mut signals = Signals::new().map_err(Error::system("signal"))?;
        // `start` says so when everything stands; when it failed half-way, it is gone without a word.
        let mut word = [0];
        if go.read(&mut word).map_err(Error::system("read"))? == 0 {
            return Ok(());
        }
        drop(go);
        tokio::spawn(Arc::clone(&events).deliver());
        listener.set_nonblocking(true).map_err(Error::system("fcntl"))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(Error::system("epoll"))?;
        tokio::spawn(accept(listener, server(&shim)));
        let resting = Arc::clone(&shim);
        tokio::spawn(async move { resting.rest().await });
        tokio::select! {
            () = shim.ended() => tracing::debug!("shutdown"),
            () = signals.serve(&reaper) => tracing::info!("told to end by a signal"),
            () = abandoned(&shim) => tracing::info!("the bundle is gone and no container was ever made"),
        }
        events.flush(FAREWELL).await;
        Ok(())
    })
}

/// Ends when the bundle was removed before a container was made: the manager was killed while it started this shim, and its successor does not know
/// of it. Once there was a container, whoever asked for it asks for the end too.
async fn abandoned(shim: &Shim) {
    const LOOK: Duration = Duration::from_secs(2);
    while !shim.has_containers() {
        tokio::time::sleep(LOOK).await;
        // The working directory is the bundle; a removed directory has no links.
        if !shim.has_containers() && rustix::fs::stat(".").is_ok_and(|bundle| bundle.st_nlink == 0) {
            return;
        }
    }
    std::future::pending().await
}

fn server(shim: &Arc<Shim>) -> Server {
    let service = Arc::new(TaskServer::new(Arc::new(Service(Arc::clone(shim)))));
    let older: Arc<dyn containerd_ttrpc::Service> = service.clone();
    Server::new()
        .with("containerd.task.v3.Task", service)
        .with("containerd.task.v2.Task", older)
}

/// Takes connections from those who may speak to us.
async fn accept(listener: tokio::net::UnixListener, server: Server) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match stream.peer_cred() {
                Ok(peer) if socket::may_speak(peer.uid()) => {
                    let server = server.clone();
                    tokio::spawn(async move { server.serve_connection(stream).await });
                }
                Ok(peer) => tracing::warn!(uid = peer.uid(), "a connection of another user is refused"),
                Err(error) => tracing::warn!(%error, "a connection without credentials is refused"),
            },
            Err(error) => {
                // Out of descriptors or memory: it passes.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

struct Signals {
    child: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Reaps, until a signal asks for the end.
    async fn serve(&mut self, reaper: &Reaper) {
        loop {
            tokio::select! {
                _ = self.child.recv() => reaper.sweep(),
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}
