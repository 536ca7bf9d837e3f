//! Clearing a task away: because it was deleted, or because its shim was lost.

use std::path::Path;
use std::sync::Arc;

use containerd_proto::containerd::events::{TaskDelete, TaskExit};
use containerd_rs_core::Error;
use tracing::Instrument as _;

use super::bundle::Bundle;
use super::error::{Result, TaskError, is_gone};
use super::shim::{Exit, Reached, SHUTDOWN_LIMIT, Shim, reach};
use super::{Manager, registry};
use crate::services::request::run;

/// The exit status of a task nobody could ask any more: as if killed (128 + 9).
const LOST: u32 = 137;

impl Manager {
    /// Deletes a task that has ended, its shim and its bundle, and answers how it ended. It is deleted to the end even when
    /// the caller goes away.
    ///
    /// # Errors
    /// What the shim answers: `FailedPrecondition` while it runs. The task stays as it is then.
    pub(crate) async fn delete(&self, shim: Arc<Shim>) -> Result<Exit> {
        let manager = self.clone();
        let span = tracing::info_span!("delete", namespace = shim.namespace(), id = shim.id());
        let work = async move { manager.delete_now(&shim).await };
        tokio::spawn(work.instrument(span))
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the deletion of the task broke off".into()).into()))
    }

    async fn delete_now(&self, shim: &Arc<Shim>) -> Result<Exit> {
        let exit = match shim.delete("").await {
            Ok(exit) => exit,
            // The shim is being cleared away, and whoever does that learns how the task ended.
            Err(status) if is_gone(&status) => return shim.lost_exit().await.ok_or(TaskError::Shim(status)),
            // An earlier deletion came that far and no further.
            Err(status) if status.code == containerd_ttrpc::Code::NotFound => {
                self.finish(shim).await;
                return Err(TaskError::Shim(status));
            }
            Err(status) => return Err(TaskError::Shim(status)),
        };
        self.finish(shim).await;
        Ok(exit)
    }

    /// After the task is gone from its shim: ends the shim and removes the bundle.
    async fn finish(&self, shim: &Arc<Shim>) {
        let Some(reservation) = self.0.registry.take(shim) else {
            return;
        };
        self.discard(shim).await;
        self.remove_bundle(shim.bundle.clone()).await;
        drop(reservation);
    }

    /// Kills and deletes a task that nobody knows of.
    pub(super) async fn abandon(&self, shim: &Arc<Shim>) {
        let request = containerd_proto::containerd::task::v3::KillRequest {
            id: shim.id().to_owned(),
            exec_id: String::new(),
            signal: 9,
            all: true,
        };
        if let Err(error) = shim.task().kill(&shim.context(), &request).await {
            tracing::debug!(%error, "kill");
        }
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), shim.wait("")).await;
        if let Err(error) = self.delete_now(shim).await {
            tracing::warn!(%error, "a task that nobody knows of is not deleted");
        }
    }

    /// Ends a shim that has no task of this id any more. One that does not end is left to its own program.
    pub(super) async fn discard(&self, shim: &Shim) {
        if let Err(error) = shim.shutdown(self.0.registry.shares(shim)).await {
            tracing::warn!(namespace = shim.namespace(), id = shim.id(), %error, "the shim does not shut down");
            self.clean_up(&shim.binary, &shim.bundle).await;
        }
    }

    /// Has the shim's program clean up, and tells how the task ended as far as it knows.
    pub(super) async fn clean_up(&self, binary: &Path, bundle: &Bundle) -> Exit {
        match self.0.launcher.delete(binary, bundle).await {
            Ok(answer) => Exit {
                pid: answer.pid,
                status: answer.exit_status,
                at: answer.exited_at,
            },
            Err(error) => {
                tracing::error!(namespace = bundle.namespace, id = bundle.id, %error, "failed to delete dead shim");
                Exit {
                    pid: 0,
                    status: LOST,
                    at: None,
                }
            }
        }
    }

    pub(super) async fn remove_bundle(&self, bundle: Bundle) {
        let (namespace, id) = (bundle.namespace.clone(), bundle.id.clone());
        if let Err(error) = run(move || bundle.remove()).await {
            tracing::error!(namespace, id, %error, "a bundle stays");
        }
    }

    /// Waits beside a task until its shim is gone, and clears up if that was not our doing.
    pub(super) fn watch(&self, shim: Arc<Shim>) {
        let manager = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shim.closed() => {}
                () = manager.0.ended.cancelled() => return,
            }
            if let Some(reservation) = manager.0.registry.take(&shim) {
                tracing::warn!(namespace = shim.namespace(), id = shim.id(), "shim disconnected");
                manager.lost(&shim, reservation).await;
            }
        });
    }

    /// Clears up after a shim that is gone without having deleted its task: the exit and the end of the task are told in its stead.
    async fn lost(&self, shim: &Shim, reservation: registry::Reservation) {
        let exit = self.bury(&shim.binary, &shim.bundle, shim.socket.as_deref()).await;
        drop(reservation);
        shim.set_lost(exit);
    }

    /// The same for a shim that was never reached.
    pub(super) async fn bury(&self, binary: &Path, bundle: &Bundle, socket: Option<&Path>) -> Exit {
        let mut exit = self.clean_up(binary, bundle).await;
        if let Some(socket) = socket
            && let Reached::Dead = reach(socket, SHUTDOWN_LIMIT).await
        {
            // A shim that was killed leaves its socket; one that is gone already is as good.
            let _ = tokio::fs::remove_file(socket).await;
        }
        exit.at = exit.at.or_else(|| Some(containerd_proto::now()));
        self.remove_bundle(bundle.clone()).await;
        let (namespace, id) = (bundle.namespace.as_str(), &bundle.id);
        let ended = TaskExit {
            container_id: id.clone(),
            id: id.clone(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: exit.at,
        };
        self.0.exchange.emit(namespace, "/tasks/exit", &ended);
        let deleted = TaskDelete {
            container_id: id.clone(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: exit.at,
            id: String::new(),
        };
        self.0.exchange.emit(namespace, "/tasks/delete", &deleted);
        exit
    }
}
