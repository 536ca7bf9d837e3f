//! Making a task: bundle, shim, container, in this order, and back when one fails.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_proto::containerd::task::v3 as api;
use containerd_proto::containerd::types::Mount;
use containerd_rs_core::{Container, Ctx, Error, Result as CoreResult};
use prost_types::Any;
use tracing::Instrument as _;

use super::answer::Answer;
use super::bundle::Bundle;
use super::error::{Result, TaskError, is_gone};
use super::log::ShimLog;
use super::registry::Reservation;
use super::shim::Shim;
use super::{Manager, name};
use crate::services::convert;
use crate::services::request::run;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct NewTask {
    pub(crate) container: Container,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) terminal: bool,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// A directory with a checkpoint to restore from; empty for none.
    pub(crate) checkpoint: String,
    /// Options of this task; those of the container otherwise.
    pub(crate) options: Option<Any>,
    /// A program to use as shim; empty for that of the container's runtime.
    pub(crate) runtime_path: String,
}

impl Manager {
    /// Makes a task and answers with the pid of its first process, which waits to be started. When the caller goes away meanwhile, the task is
    /// made to its end and taken away again: nobody would know of it.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` for the shim; what shim and runtime answer. Nothing is left then.
    pub(crate) async fn create(&self, ctx: Ctx, new: NewTask) -> Result<u32> {
        let (manager, (send, receive)) = (self.clone(), tokio::sync::oneshot::channel());
        let span = tracing::info_span!("create", namespace = ctx.namespace, id = new.container.id);
        let work = async move {
            let made = manager.make(&ctx, new).await;
            let (answer, shim) = made.map_or_else(|e| (Err(e), None), |(pid, shim)| (Ok(pid), Some(shim)));
            if let (Err(_), Some(shim)) = (send.send(answer), shim) {
                tracing::info!("the client went away while its task was made; it is deleted");
                manager.abandon(&shim).await;
            }
        };
        tokio::spawn(work.instrument(span));
        receive
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the making of the task broke off".into()).into()))
    }

    async fn make(&self, ctx: &Ctx, new: NewTask) -> Result<(u32, Arc<Shim>)> {
        let id = new.container.id.clone();
        let reservation = self.0.registry.reserve(&ctx.namespace, &id).await?;
        let binary = self.binary(&new)?;
        let rootfs = self.rootfs(ctx, &new).await?;
        let bundle = self.0.places.bundle(&ctx.namespace, &id);
        let spec = new
            .container
            .spec
            .as_ref()
            .map(|spec| spec.value.clone())
            .unwrap_or_default();
        let filled = bundle.clone();
        run(move || filled.create(&spec)).await?;
        let result = self.make_in(&bundle, binary, rootfs, new, reservation).await;
        if result.is_err() {
            self.remove_bundle(bundle).await;
        }
        result
    }

    /// With the bundle there.
    async fn make_in(
        &self,
        bundle: &Bundle,
        binary: PathBuf,
        rootfs: Vec<Mount>,
        new: NewTask,
        reservation: Reservation,
    ) -> Result<(u32, Arc<Shim>)> {
        let options = new
            .options
            .clone()
            .filter(|options| !options.value.is_empty() || !options.type_url.is_empty());
        let options = options.or_else(|| new.container.runtime.options.clone().map(convert::any_out));
        let shim = self
            .start_shim(bundle, binary, options.as_ref())
            .await
            .map_err(|e| e.context("failed to start shim"))?;
        let request = api::CreateTaskRequest {
            id: bundle.id.clone(),
            bundle: bundle.path.display().to_string(),
            rootfs,
            terminal: new.terminal,
            stdin: new.stdin,
            stdout: new.stdout,
            stderr: new.stderr,
            checkpoint: new.checkpoint,
            parent_checkpoint: String::new(),
            options,
        };
        match shim.task().create(&shim.context(), &request).await {
            Ok(answer) => {
                let shim = Arc::new(shim);
                reservation.fulfil(Arc::clone(&shim));
                self.watch(Arc::clone(&shim));
                Ok((answer.pid, shim))
            }
            Err(status) => {
                if is_gone(&status) {
                    // It died over it, with whatever it had made by then.
                    self.clean_up(&shim.binary, bundle).await;
                } else {
                    self.discard(&shim).await;
                }
                Err(TaskError::ShimDoing {
                    what: "failed to create shim task",
                    status,
                })
            }
        }
    }

    /// Starts the shim's program and connects to what it started. The answer is written down before anything else is asked of the
    /// shim, so that a manager that dies here finds it again.
    async fn start_shim(&self, bundle: &Bundle, binary: PathBuf, options: Option<&Any>) -> CoreResult<Shim> {
        let log = ShimLog::open(bundle)?;
        bundle.write("shim-binary-path", binary.as_os_str().as_encoded_bytes())?;
        let answer = self.0.launcher.start(&binary, bundle, options).await?;
        let connected = match remember(bundle, &answer) {
            Ok(()) => Shim::connect(bundle.clone(), binary.clone(), &answer, Some(log)).await,
            Err(error) => Err(error),
        };
        if connected.is_err() {
            // It was started and cannot be spoken to: its own program knows how to end it.
            self.clean_up(&binary, bundle).await;
        }
        connected
    }

    fn binary(&self, new: &NewTask) -> CoreResult<PathBuf> {
        let runtime = if new.runtime_path.is_empty() {
            &new.container.runtime.name
        } else {
            &new.runtime_path
        };
        name::resolve(runtime, &self.0.shim_directories)
    }

    /// The mounts of the root: those of the request, or else those of the container's snapshot.
    async fn rootfs(&self, ctx: &Ctx, new: &NewTask) -> CoreResult<Vec<Mount>> {
        if !new.rootfs.is_empty() || new.container.snapshot_key.is_empty() {
            return Ok(new.rootfs.clone());
        }
        let snapshotter = self.0.stores.snapshotter(&new.container.snapshotter)?;
        let (ctx, key) = (ctx.clone(), new.container.snapshot_key.clone());
        let mounts = run(move || snapshotter.mounts(&ctx, &key)).await?;
        Ok(mounts.into_iter().map(convert::mount_out).collect())
    }
}

/// Writes down where the shim is: as containerd of today does, and as that of before did.
fn remember(bundle: &Bundle, answer: &Answer) -> CoreResult<()> {
    let json = serde_json::to_vec(answer).map_err(|e| Error::Internal(format!("bootstrap.json: {e}")))?;
    bundle.write("bootstrap.json", &json)?;
    bundle.write("address", answer.address.as_bytes())
}
