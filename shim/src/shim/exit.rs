//! What happens when a process ends, in the order that managers rely on: further processes before the first one, out-of-memory before the exit,
//! the start's event before the exit's, output before either is told.

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::events::TaskExit;
use tokio::sync::oneshot;

use super::{DRAIN, Shim};
use crate::container::{Container, Frozen};
use crate::process::{Phase, Process};
use crate::reaper::Exit;

/// How long the first process's exit waits for those of the others, which the kernel kills with it.
const OTHERS: Duration = Duration::from_secs(10);

impl Shim {
    /// Waits for the exit of a process and reports it.
    pub(super) async fn watch_exit(
        self: Arc<Self>,
        container: Arc<Container>,
        process: Arc<Process>,
        exit: oneshot::Receiver<Exit>,
    ) {
        // The reaper drops a watch only when another process of the same id takes its place, and that cannot be before it was reaped.
        let Ok(exit) = exit.await else { return };
        let is_init = process.exec_id.is_empty();
        if is_init {
            container.set_init_gone();
            self.end_others(&container).await;
        }
        let _gate = process.gate.lock().await;
        if let Some(streams) = process.streams() {
            streams.drain(DRAIN).await;
        }
        if let Some(oom) = container.oom.as_ref().filter(|_| is_init) {
            oom.check();
        }
        let event = TaskExit {
            container_id: container.id.clone(),
            id: if is_init {
                container.id.clone()
            } else {
                process.exec_id.clone()
            },
            pid: process.wire_pid(),
            exit_status: exit.status,
            exited_at: Some(exit.at),
        };
        self.events.publish("/tasks/exit", &event);
        process.set_stopped(exit);
        self.idle.worked();
    }

    /// Ends and waits for the processes beside the first one.
    async fn end_others(&self, container: &Arc<Container>) {
        let id = container.id.clone();
        if container.shares_pids {
            let killed = self
                .call(&container.runtime, move |runtime| runtime.kill(&id, 9, true))
                .await;
            if let Err(error) = killed {
                tracing::debug!(id = container.id, %error, "failed to kill init's children");
            }
        }
        if container.frozen() != Frozen::No {
            self.thaw(container).await;
        }
        let all = async {
            for exec in container.execs() {
                // One that is being started has its gate locked until it runs or has failed.
                drop(exec.gate.lock().await);
                if exec.phase() == Phase::Running {
                    exec.wait().await;
                }
            }
        };
        if tokio::time::timeout(OTHERS, all).await.is_err() {
            tracing::warn!(id = container.id, "processes outlive the container's first one");
        }
    }
}
