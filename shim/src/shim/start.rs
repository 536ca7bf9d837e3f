//! Start: the container's program, or a process that Exec registered.

use std::sync::Arc;

use containerd_proto::containerd::events::{TaskExecAdded, TaskExecStarted, TaskStart};
use containerd_proto::containerd::task::v3::ExecProcessRequest;
use serde_json::Value;

use super::{Shim, failed};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::process::{Phase, Process};
use crate::reaper::Exit;
use crate::stdio::{Owner, Prepared, StdioRequest};

impl Shim {
    /// Starts a process; returns its id.
    ///
    /// # Errors
    /// A process that is not in the state for it; the runtime's.
    pub(crate) async fn start(self: &Arc<Self>, id: &str, exec_id: &str) -> Result<u32> {
        let (container, process) = self.process(id, exec_id)?;
        if !exec_id.is_empty() && container.is_init_gone() {
            return Err(Error::Precondition(format!(
                "container {id} init process is not running"
            )));
        }
        let owned = Arc::clone(&process);
        let _gate = owned.gate.lock().await;
        match process.phase() {
            Phase::Created => {}
            Phase::Running if container.state_name() == "paused" => {
                return Err(Error::Precondition("cannot start a paused process".to_owned()));
            }
            Phase::Running => return Err(Error::Precondition("cannot start a running process".to_owned())),
            Phase::Stopped => return Err(Error::Precondition("cannot start a stopped process".to_owned())),
        }
        if exec_id.is_empty() {
            self.start_init(&container).await?;
        } else if let Err(error) = self.start_exec(&container, &process).await {
            // Who waits for it must not wait for ever.
            process.set_stopped(Exit {
                status: 255,
                at: containerd_proto::now(),
            });
            return Err(error);
        }
        self.idle.worked();
        Ok(process.wire_pid())
    }

    async fn start_init(&self, container: &Arc<Container>) -> Result<()> {
        let id = container.id.clone();
        let started = self.call(&container.runtime, move |runtime| runtime.start(&id)).await;
        started.map_err(failed("OCI runtime start failed"))?;
        container.init.set_running();
        self.events.publish(
            "/tasks/start",
            &TaskStart {
                container_id: container.id.clone(),
                pid: container.init.wire_pid(),
            },
        );
        Ok(())
    }

    async fn start_exec(self: &Arc<Self>, container: &Arc<Container>, process: &Arc<Process>) -> Result<()> {
        let hold = self.reaper.hold();
        let (shim, of, what) = (Arc::clone(self), Arc::clone(container), Arc::clone(process));
        let done = tokio::task::spawn_blocking(move || {
            let owner = Owner {
                id: &what.exec_id,
                namespace: &shim.namespace,
                uid: of.options.io_uid,
                gid: of.options.io_gid,
                reaper: &shim.reaper,
            };
            let (prepared, io) = Prepared::open(&what.stdio, &owner)?;
            let spawned = of.runtime.exec(&of.id, &what.exec_id, &what.spec, io);
            let spawned = spawned.map_err(failed("OCI runtime exec failed"))?;
            Ok::<_, Error>((prepared, spawned))
        });
        let (prepared, spawned) = done.await.map_err(|e| Error::State(e.to_string()))??;
        let exit = self.reaper.watch(spawned.pid)?;
        drop(hold);
        match prepared.start(spawned.console) {
            Ok(streams) => process.made(spawned.pid, streams),
            Err(error) => {
                self.reaper.signal(spawned.pid, libc::SIGKILL);
                return Err(error);
            }
        }
        process.set_running();
        self.events.publish(
            "/tasks/exec-started",
            &TaskExecStarted {
                container_id: container.id.clone(),
                exec_id: process.exec_id.clone(),
                pid: process.wire_pid(),
            },
        );
        tokio::spawn(Arc::clone(self).watch_exit(Arc::clone(container), Arc::clone(process), exit));
        Ok(())
    }

    /// Registers a process.
    ///
    /// # Errors
    /// A known id, a container that has stopped or is paused, a process that is none.
    pub(crate) fn exec(&self, request: ExecProcessRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Error::Invalid("exec id cannot be empty".to_owned()));
        }
        if container.process(&request.exec_id).is_ok() {
            return Err(Error::Exists(format!("id {}", request.exec_id)));
        }
        match container.state_name() {
            _ if container.is_init_gone() => Err(Error::Precondition("cannot exec in a stopped state".to_owned())),
            "stopped" => Err(Error::Precondition("cannot exec in a stopped state".to_owned())),
            "paused" => Err(Error::Precondition("cannot exec in a paused state".to_owned())),
            _ => Ok(()),
        }?;
        let spec = process_spec(&request)?;
        let stdio = StdioRequest {
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        container.add(Arc::new(Process::new(request.exec_id.clone(), stdio, spec)))?;
        self.events.publish(
            "/tasks/exec-added",
            &TaskExecAdded {
                container_id: request.id,
                exec_id: request.exec_id,
            },
        );
        Ok(())
    }
}

/// The process as JSON, with the terminal that the request itself asks for.
fn process_spec(request: &ExecProcessRequest) -> Result<Vec<u8>> {
    let bad = |e: serde_json::Error| Error::Invalid(format!("process of exec {}: {e}", request.exec_id));
    let value = request
        .spec
        .as_ref()
        .map(|any| any.value.as_slice())
        .unwrap_or_default();
    let mut spec: serde_json::Map<String, Value> = serde_json::from_slice(value).map_err(bad)?;
    spec.insert("terminal".to_owned(), Value::Bool(request.terminal));
    serde_json::to_vec(&spec).map_err(bad)
}
