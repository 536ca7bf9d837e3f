//! Finding tasks again after a restart.
//!
//! All bundles are looked at beside one another while requests are served already; a request for a task that is being looked at waits for it. What
//! is found decides:
//!
//! | its shim | then |
//! |---|---|
//! | answers, and has the task | the task goes on; an exit that happened meanwhile is told now |
//! | answers, and has no such task | the making was cut short: it is told to end, and the bundle goes |
//! | does not listen any more | its program clears up, and exit and end are told |
//! | anything else | nothing is known, so nothing is touched; it is tried again |

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use containerd_proto::containerd::events::TaskExit;
use containerd_proto::containerd::task::v3::StateResponse;
use containerd_proto::containerd::v1::types::Status as TaskStatus;
use containerd_rs_core::{Ctx, Envelope, Result};
use containerd_ttrpc::Code;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::bundle::Bundle;
use super::error::is_gone;
use super::log::ShimLog;
use super::registry::Reservation;
use super::shim::{Reached, Shim, reach};
use super::{Manager, name};
use crate::services::request::run;

/// Bundles that are looked at beside one another.
const PARALLEL: usize = 32;
/// How long a shim may take to accept, and to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long before a shim of which nothing is known is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long shims keep trying to tell of an exit (5 times, 1 to 5 seconds apart); exits are compared for longer.
const ECHO: Duration = Duration::from_secs(60);
/// Where shims have their sockets.
const SOCKETS: &str = "/run/containerd/s";

/// Exits that were told since the start: both by us, from a task's state, and by shims that kept trying. Each is told once.
#[derive(Default)]
pub(crate) struct Replayed {
    over: bool,
    told: HashSet<(String, String, u32)>,
}

/// What a look at a bundle led to.
enum Found {
    Task(Box<Shim>, Option<StateResponse>),
    Nothing,
    /// Try again, with the binary and address as they are.
    Unknown(String),
}

impl Manager {
    /// Looks for bundles, and in the background at what each of them is.
    ///
    /// # Errors
    /// `Io` when the directory of bundles cannot be read.
    pub(crate) async fn load(&self) -> Result<()> {
        let places = self.0.places.clone();
        let bundles = run(move || places.all()).await?;
        let jobs: Vec<_> = bundles
            .into_iter()
            .map(|bundle| (self.0.registry.load(&bundle.namespace, &bundle.id), bundle))
            .collect();
        let manager = self.clone();
        tokio::spawn(async move {
            let total = jobs.len();
            futures_util::stream::iter(jobs)
                .for_each_concurrent(PARALLEL, |((reservation, done), bundle)| {
                    let manager = manager.clone();
                    async move {
                        manager.load_one(bundle, reservation).await;
                        drop(done);
                    }
                })
                .await;
            if total > 0 {
                tracing::info!(bundles = total, tasks = manager.count(), "tasks found again");
            }
            let places = manager.0.places.clone();
            if let Err(error) = run(move || places.remove_orphans()).await {
                tracing::warn!(%error, "work directories of lost tasks stay");
            }
            tokio::select! {
                () = tokio::time::sleep(ECHO) => {}
                () = manager.0.ended.cancelled() => return,
            }
            let mut replayed = manager.0.replayed.lock().unwrap_or_else(PoisonError::into_inner);
            *replayed = Replayed {
                over: true,
                told: HashSet::new(),
            };
        });
        Ok(())
    }

    async fn load_one(&self, bundle: Bundle, reservation: Reservation) {
        match self.look(&bundle).await {
            Found::Task(shim, state) => self.adopt(*shim, state, reservation),
            Found::Nothing => drop(reservation),
            Found::Unknown(why) => {
                tracing::warn!(
                    namespace = bundle.namespace,
                    id = bundle.id,
                    why,
                    "nothing is known of a task; it is kept"
                );
                let manager = self.clone();
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            () = tokio::time::sleep(AGAIN) => {}
                            () = manager.0.ended.cancelled() => return,
                        }
                        match manager.look(&bundle).await {
                            Found::Task(shim, state) => return manager.adopt(*shim, state, reservation),
                            Found::Nothing => return drop(reservation),
                            Found::Unknown(_) => {}
                        }
                    }
                });
            }
        }
    }

    fn adopt(&self, shim: Shim, state: Option<StateResponse>, reservation: Reservation) {
        let shim = Arc::new(shim);
        reservation.fulfil(Arc::clone(&shim));
        self.watch(Arc::clone(&shim));
        let Some(state) = state.filter(|state| state.status() == TaskStatus::Stopped) else {
            return;
        };
        let exit = TaskExit {
            container_id: shim.id().to_owned(),
            id: shim.id().to_owned(),
            pid: state.pid,
            exit_status: state.exit_status,
            exited_at: state.exited_at,
        };
        if self.first_to_tell(shim.namespace(), &exit) {
            self.0.exchange.emit(shim.namespace(), "/tasks/exit", &exit);
        }
    }

    async fn look(&self, bundle: &Bundle) -> Found {
        let Some(binary) = self.binary_of(bundle).await else {
            // It died before it wrote down which program it would start, so nothing was started.
            tracing::info!(
                namespace = bundle.namespace,
                id = bundle.id,
                "a bundle without a shim is removed"
            );
            self.remove_bundle(bundle.clone()).await;
            return Found::Nothing;
        };
        let Some(answer) = address(bundle, self) else {
            self.bury(&binary, bundle, None).await;
            return Found::Nothing;
        };
        let socket = match answer.socket() {
            Ok(socket) => socket,
            Err(error) => return Found::Unknown(error.to_string()),
        };
        match reach(&socket, LIMIT).await {
            Reached::Unknown(error) => Found::Unknown(error.to_string()),
            Reached::Dead => {
                tracing::warn!(
                    namespace = bundle.namespace,
                    id = bundle.id,
                    "its shim is gone; cleaning up"
                );
                self.bury(&binary, bundle, Some(&socket)).await;
                Found::Nothing
            }
            Reached::Client(client) => {
                let log = ShimLog::open(bundle)
                    .inspect_err(|error| tracing::warn!(%error, "no shim log"))
                    .ok();
                let shim = Shim::over(client, bundle.clone(), binary, &answer, log);
                self.ask(shim, answer).await
            }
        }
    }

    /// Asks a shim that accepted what it has.
    async fn ask(&self, shim: Shim, answer: Answer) -> Found {
        let state = tokio::time::timeout(LIMIT, shim.state("")).await;
        match state {
            Ok(Ok(state)) => Found::Task(Box::new(shim), Some(state)),
            Ok(Err(status)) if status.code == Code::NotFound => {
                tracing::info!(
                    namespace = shim.namespace(),
                    id = shim.id(),
                    "cleaning leaked shim process"
                );
                self.discard(&shim).await;
                self.remove_bundle(shim.bundle.clone()).await;
                Found::Nothing
            }
            Ok(Err(status)) if status.code == Code::Unimplemented && answer.version >= 3 => {
                let older = Answer { version: 2, ..answer };
                match reach(&older.socket().unwrap_or_default(), LIMIT).await {
                    Reached::Client(client) => {
                        let shim = Shim::over(client, shim.bundle.clone(), shim.binary.clone(), &older, None);
                        Box::pin(self.ask(shim, older)).await
                    }
                    Reached::Dead => Found::Unknown("the shim went away".to_owned()),
                    Reached::Unknown(error) => Found::Unknown(error.to_string()),
                }
            }
            Ok(Err(status)) if is_gone(&status) => Found::Unknown(status.message),
            // It is there and has something: its task can be spoken to, whatever was the matter.
            Ok(Err(status)) => {
                tracing::warn!(namespace = shim.namespace(), id = shim.id(), %status, "state of a found task");
                Found::Task(Box::new(shim), None)
            }
            Err(_) => Found::Unknown("no answer in time".to_owned()),
        }
    }

    /// The shim's program: as written down, or else from the container's record, as older managers leave it.
    async fn binary_of(&self, bundle: &Bundle) -> Option<PathBuf> {
        if let Some(path) = bundle.read("shim-binary-path") {
            return Some(PathBuf::from(path.trim()));
        }
        let ctx = Ctx::new(bundle.namespace.clone()).ok()?;
        let (store, id) = (self.0.stores.containers.clone(), bundle.id.clone());
        let container = run(move || store.get(&ctx, &id)).await.ok()?;
        name::resolve(&container.runtime.name, &self.0.shim_directories).ok()
    }

    /// Passes on an event of a shim, unless we told it ourselves already.
    ///
    /// # Errors
    /// `InvalidArgument` for an envelope that is not whole.
    pub(crate) fn forward(&self, event: Envelope) -> Result<()> {
        if event.topic == "/tasks/exit" {
            let exit = event
                .event
                .as_ref()
                .and_then(|any| <TaskExit as prost::Message>::decode(any.value.as_slice()).ok());
            if exit.is_some_and(|exit| exit.id == exit.container_id && !self.first_to_tell(&event.namespace, &exit)) {
                return Ok(());
            }
        }
        self.0.exchange.forward(event)
    }

    fn first_to_tell(&self, namespace: &str, exit: &TaskExit) -> bool {
        let mut replayed = self.0.replayed.lock().unwrap_or_else(PoisonError::into_inner);
        replayed.over
            || replayed
                .told
                .insert((namespace.to_owned(), exit.container_id.clone(), exit.pid))
    }
}

/// Where the shim is: as we wrote it down, as the shim did, or where it must be if we died between its start and that.
fn address(bundle: &Bundle, manager: &Manager) -> Option<Answer> {
    let written = bundle.read("bootstrap.json").or_else(|| bundle.read("address"));
    if let Some(answer) = written.and_then(|text| Answer::parse(text.as_bytes()).ok()) {
        return Some(answer);
    }
    let group = group(bundle);
    let name = manager.0.launcher.address().join(&bundle.namespace).join(group);
    let hash = hex::encode(Sha256::digest(name.as_os_str().as_encoded_bytes()));
    let socket = PathBuf::from(SOCKETS).join(hash);
    let address = format!("unix://{}", socket.display());
    socket.exists().then(|| Answer {
        version: 3,
        address,
        protocol: "ttrpc".to_owned(),
    })
}

/// The group of a task: what its shim is shared by.
fn group(bundle: &Bundle) -> String {
    let spec = bundle.read("config.json").unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_str(&spec).unwrap_or_default();
    ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"]
        .iter()
        .find_map(|key| spec.get("annotations")?.get(key)?.as_str().map(str::to_owned))
        .unwrap_or_else(|| bundle.id.clone())
}
