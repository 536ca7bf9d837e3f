//! Tasks: containers that run, each looked after by a shim.
//!
//! The [`Manager`] starts a shim for each, and from then on only carries calls to it and events from it. What it knows itself is which shims
//! there are; a task's state is always the shim's answer. Two rules keep this safe:
//!
//! * Whoever clears a task away, because it was deleted or because its shim was lost, takes it out of the [`registry`] first; there can
//!   be only one who does.
//! * Making and clearing away are never stopped half-way by a client that goes away: they run as tasks of their own.
//!
//! - `name`: from a runtime's name to a shim's program
//! - `bundle`: the directory of a task
//! - `launch`, `answer`: running the program; what it says
//! - `shim`, `registry`: connections, and which there are
//! - `create`, `reap`: making; clearing away
//! - `load`: finding them again at start

mod answer;
mod bundle;
mod create;
mod error;
mod launch;
mod load;
mod log;
mod name;
mod reap;
mod registry;
mod shim;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use containerd_proto::containerd::types::RuntimeInfo;
use containerd_ttrpc::{Code, Status};
use prost_types::Any;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::events::Exchange;
use crate::stores::Stores;
use bundle::Places;
use launch::Launcher;
use registry::Registry;

pub(crate) use create::NewTask;
pub(crate) use error::is_gone;
pub(crate) use load::Replayed;
pub(crate) use shim::{Exit, Shim};

/// The manager of all tasks; clones are the same one.
#[derive(Clone)]
pub(crate) struct Manager(Arc<Inner>);

struct Inner {
    places: Places,
    launcher: Launcher,
    registry: Arc<Registry>,
    stores: Stores,
    exchange: Exchange,
    shim_directories: Vec<PathBuf>,
    replayed: Mutex<Replayed>,
    ended: CancellationToken,
}

impl Manager {
    /// A manager that knows of no tasks yet; see [`Manager::load`].
    ///
    /// # Errors
    /// `Io` when its directories cannot be made.
    pub(crate) fn new(
        config: &Config,
        stores: Stores,
        exchange: Exchange,
        ended: CancellationToken,
    ) -> containerd_rs_core::Result<Self> {
        let places = Places::new(&config.root, &config.state);
        places.prepare()?;
        Ok(Manager(Arc::new(Inner {
            places,
            launcher: Launcher::new(config),
            registry: Arc::default(),
            stores,
            exchange,
            shim_directories: config.shim_directories.clone(),
            replayed: Mutex::default(),
            ended,
        })))
    }

    /// A task of a namespace.
    pub(crate) async fn get(&self, namespace: &str, id: &str) -> Option<Arc<Shim>> {
        self.0.registry.get(namespace, id).await
    }

    /// All tasks of a namespace, or of all.
    pub(crate) async fn list(&self, namespace: Option<&str>) -> Vec<Arc<Shim>> {
        self.0.registry.list(namespace).await
    }

    /// How many tasks there are now.
    pub(crate) fn count(&self) -> usize {
        self.0.registry.count()
    }

    /// Waits for the end of a task, or of an exec in it; also ends, with an error, when the engine does.
    ///
    /// # Errors
    /// The shim's.
    pub(crate) async fn wait(&self, shim: &Shim, exec_id: &str) -> std::result::Result<Exit, Status> {
        tokio::select! {
            exit = shim.wait(exec_id) => exit,
            () = self.0.ended.cancelled() => Err(Status::new(Code::Cancelled, "the engine is shut down")),
        }
    }

    /// What the shim of a runtime says of itself.
    ///
    /// # Errors
    /// `NotFound` when there is none; whatever its program answers.
    pub(crate) async fn info(&self, runtime: &str, options: Option<Any>) -> containerd_rs_core::Result<RuntimeInfo> {
        let binary = name::resolve(runtime, &self.0.shim_directories)?;
        self.0.launcher.info(&binary, options).await
    }
}
