//! Delete: the exit is fetched, and what the host kept is given back.

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::events::TaskDelete;
use containerd_proto::containerd::task::v3::DeleteResponse;

use super::{DRAIN, Shim, failed};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::mounts;
use crate::process::{Phase, Process};
use crate::reaper::Exit;

/// How long a process that was killed may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// What is told of a process that never was.
const NEVER: u32 = 255;

impl Shim {
    /// Deletes a process (and with the first one the container) that does not run.
    ///
    /// # Errors
    /// [`Error::Precondition`] while it runs; the runtime's. It can be called again then.
    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<DeleteResponse> {
        let (container, process) = self.process(id, exec_id)?;
        let _turn = container.turn.lock().await;
        // A Start that is under way comes first; and another Delete may have been quicker.
        drop(process.gate.lock().await);
        self.process(id, exec_id)?;
        if process.phase() == Phase::Running {
            let state = if container.state_name() == "paused" {
                "paused"
            } else {
                "running"
            };
            return Err(Error::Precondition(format!("cannot delete a {state} process")));
        }
        if exec_id.is_empty() {
            self.delete_container(&container).await?;
        } else {
            finish(&process).await;
            container.remove(exec_id);
        }
        let response = response(&process);
        if process.phase() == Phase::Created {
            // Never started: who waits for it must not wait for ever.
            process.set_stopped(Exit {
                status: NEVER,
                at: containerd_proto::now(),
            });
        }
        if exec_id.is_empty() {
            self.lock().remove(id);
            self.events.publish(
                "/tasks/delete",
                &TaskDelete {
                    container_id: id.to_owned(),
                    pid: response.pid,
                    exit_status: response.exit_status,
                    exited_at: response.exited_at,
                    id: String::new(),
                },
            );
        }
        self.idle.worked();
        Ok(response)
    }

    async fn delete_container(&self, container: &Arc<Container>) -> Result<()> {
        // One that was created and never started is killed by being deleted.
        let force = container.init.phase() == Phase::Created;
        if !force {
            finish(&container.init).await;
        }
        for exec in container.execs() {
            finish(&exec).await;
        }
        let (id, rootfs) = (container.id.clone(), container.bundle.rootfs());
        let (deleted, unmounted) = self
            .call(&container.runtime, move |runtime| {
                Ok((runtime.delete(&id, force), mounts::unmount(&rootfs)))
            })
            .await
            .map_err(failed("failed to delete task"))?;
        // Whoever else removed it: it is gone, which is what was asked for.
        if let Some(error) = deleted.err().filter(|error| !error.is_unknown_container()) {
            return Err(failed("failed to delete task")(error));
        }
        unmounted?;
        if force {
            if tokio::time::timeout(KILLED, container.init.wait()).await.is_err() {
                return Err(Error::State(format!("process of {} does not end", container.id)));
            }
            finish(&container.init).await;
        }
        Ok(())
    }
}

/// Ends the streams of a process.
async fn finish(process: &Process) {
    if let Some(streams) = process.streams() {
        streams.finish(DRAIN).await;
    }
}

fn response(process: &Process) -> DeleteResponse {
    let exit = process.exit();
    DeleteResponse {
        pid: process.wire_pid(),
        exit_status: exit.as_ref().map_or(0, |exit| exit.status),
        exited_at: exit.map(|exit| exit.at),
    }
}
