//! Signals, freezing, limits, usage, and questions.

use containerd_proto::containerd::events::{TaskPaused, TaskResumed};
use containerd_proto::containerd::runc::v1::ProcessDetails;
use containerd_proto::containerd::task::v3::{StateResponse, WaitResponse};
use containerd_proto::containerd::v1::types::ProcessInfo;
use prost_types::Any;

use super::{Shim, failed};
use crate::container::{Container, Frozen};
use crate::error::{Error, Result};
use crate::metrics;
use crate::process::Phase;
use crate::runtime::RuntimeError;

const SIGKILL: u32 = 9;

impl Shim {
    /// Sends a signal to a process, or with `all` to all of the container.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has ended.
    pub(crate) async fn kill(&self, id: &str, exec_id: &str, signal: u32, all: bool) -> Result<()> {
        let (container, process) = self.process(id, exec_id)?;
        if !exec_id.is_empty() {
            return match (process.phase(), process.pid()) {
                (Phase::Stopped, _) => Err(finished()),
                (_, 0) => Err(Error::Precondition("process not created".to_owned())),
                (_, pid) if self.reaper.signal(pid, signal.cast_signed()) => Ok(()),
                _ => Err(finished()),
            };
        }
        if process.phase() == Phase::Stopped && !all {
            return Err(finished());
        }
        let id = container.id.clone();
        let killed = self
            .call(&container.runtime, move |runtime| runtime.kill(&id, signal, all))
            .await;
        killed.map_err(|error| kill_error(&error))?;
        if signal == SIGKILL && container.frozen() != Frozen::No {
            self.thaw(&container).await;
        }
        Ok(())
    }

    /// Lets frozen processes run, so that they can die of the signal that was sent to them: on cgroup v1 a frozen one does not.
    pub(super) async fn thaw(&self, container: &Container) {
        let id = container.id.clone();
        let thawed = self.call(&container.runtime, move |runtime| runtime.resume(&id)).await;
        // The runtime may have thawed it itself.
        if let Err(error) = thawed {
            tracing::debug!(id = container.id, %error, "resume a container that was killed");
        }
        container.set_frozen(Frozen::No);
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// A container that is not running; the runtime's.
    pub(crate) async fn pause(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _turn = container.turn.lock().await;
        match container.state_name() {
            "created" => return Err(Error::Precondition("cannot pause task in created state".to_owned())),
            "running" => {}
            state => return Err(Error::Precondition(format!("cannot pause a {state} container"))),
        }
        container.set_frozen(Frozen::Pausing);
        let name = container.id.clone();
        let paused = self.call(&container.runtime, move |runtime| runtime.pause(&name)).await;
        container.set_frozen(if paused.is_ok() { Frozen::Yes } else { Frozen::No });
        paused.map_err(failed("OCI runtime pause failed"))?;
        let container_id = container.id.clone();
        self.events.publish("/tasks/paused", &TaskPaused { container_id });
        Ok(())
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// A container that is not paused; the runtime's.
    pub(crate) async fn resume(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _turn = container.turn.lock().await;
        match container.state_name() {
            "paused" => {}
            "created" => return Err(Error::Precondition("cannot resume task in created state".to_owned())),
            "running" => return Err(Error::Precondition("cannot resume a running process".to_owned())),
            state => return Err(Error::Precondition(format!("cannot resume a {state} container"))),
        }
        let name = container.id.clone();
        let resumed = self
            .call(&container.runtime, move |runtime| runtime.resume(&name))
            .await;
        resumed.map_err(failed("OCI runtime resume failed"))?;
        container.set_frozen(Frozen::No);
        let container_id = container.id.clone();
        self.events.publish("/tasks/resumed", &TaskResumed { container_id });
        Ok(())
    }

    /// Changes limits.
    ///
    /// # Errors
    /// A container that has stopped; the runtime's.
    pub(crate) async fn update(&self, id: &str, resources: Option<Any>) -> Result<()> {
        let container = self.container(id)?;
        if container.init.phase() == Phase::Stopped {
            return Err(Error::Precondition("cannot update a stopped container".to_owned()));
        }
        let Some(resources) = resources else {
            return Err(Error::Invalid("update without resources".to_owned()));
        };
        let name = container.id.clone();
        let updated = self
            .call(&container.runtime, move |runtime| {
                runtime.update(&name, &resources.value)
            })
            .await;
        updated.map_err(failed("OCI runtime update failed"))
    }

    /// The processes of a container; those that Exec added are named.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn pids(&self, id: &str) -> Result<Vec<ProcessInfo>> {
        let container = self.container(id)?;
        let name = container.id.clone();
        let pids = self.call(&container.runtime, move |runtime| runtime.pids(&name)).await;
        let pids = pids.map_err(failed("OCI runtime ps failed"))?;
        let execs = container.execs();
        let info = |pid: i32| ProcessInfo {
            pid: pid.unsigned_abs(),
            info: execs.iter().find(|exec| exec.pid() == pid).map(|exec| {
                containerd_proto::pack(&ProcessDetails {
                    exec_id: exec.exec_id.clone(),
                })
            }),
        };
        Ok(pids.into_iter().map(info).collect())
    }

    /// Usage of a container.
    ///
    /// # Errors
    /// A container without control groups; a control file that cannot be read.
    pub(crate) fn stats(&self, id: &str) -> Result<Any> {
        let container = self.container(id)?;
        let none = || Error::NotFound("cgroup does not exist".to_owned());
        let cgroup = container
            .cgroup
            .as_ref()
            .filter(|cgroup| cgroup.exists())
            .ok_or_else(none)?;
        let stats = cgroup.stats().map_err(|e| Error::Cgroup(e.to_string()))?;
        Ok(metrics::pack(&stats))
    }

    /// Where a process stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn state(&self, id: &str, exec_id: &str) -> Result<StateResponse> {
        let (container, process) = self.process(id, exec_id)?;
        let exit = process.exit();
        let stdio = &process.stdio;
        Ok(StateResponse {
            id: if exec_id.is_empty() {
                id.to_owned()
            } else {
                exec_id.to_owned()
            },
            bundle: container.bundle.path().display().to_string(),
            pid: process.wire_pid(),
            status: container.status(&process) as i32,
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            exit_status: exit.as_ref().map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: exec_id.to_owned(),
        })
    }

    /// Waits for the exit of a process.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> Result<WaitResponse> {
        let (_, process) = self.process(id, exec_id)?;
        let exit = process.wait().await.ok_or_else(finished)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(exit.at),
        })
    }

    /// Changes the size of a process's terminal.
    ///
    /// # Errors
    /// A process that has ended.
    pub(crate) fn resize(&self, id: &str, exec_id: &str, width: u32, height: u32) -> Result<()> {
        let (_, process) = self.process(id, exec_id)?;
        if process.phase() == Phase::Stopped && !exec_id.is_empty() {
            return Err(Error::Precondition("cannot resize a stopped container".to_owned()));
        }
        let size = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        process
            .streams()
            .map_or(Ok(()), |streams| streams.resize(size(width), size(height)))
    }

    /// No more input for a process after what is there.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn close_stdin(&self, id: &str, exec_id: &str) -> Result<()> {
        let (_, process) = self.process(id, exec_id)?;
        if let Some(streams) = process.streams() {
            streams.close_stdin();
        }
        Ok(())
    }
}

fn finished() -> Error {
    Error::NotFound("process already finished".to_owned())
}

/// containerd's reading of what runtimes say when a signal cannot be sent.
fn kill_error(error: &RuntimeError) -> Error {
    let message = &error.0;
    let gone = ["os: process already finished", "container not running"]
        .iter()
        .any(|text| message.contains(text));
    if gone || message.to_lowercase().contains("no such process") {
        finished()
    } else if error.is_unknown_container() {
        Error::NotFound("no such container".to_owned())
    } else {
        Error::State(format!("unknown error after kill: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_kill_are_read_as_containerd_reads_them() {
        let words = |message: &str| kill_error(&RuntimeError(message.to_owned())).to_string();
        assert_eq!(words("container not running"), "process already finished: not found");
        assert_eq!(words("kill: No such process"), "process already finished: not found");
        assert_eq!(words("container does not exist"), "no such container: not found");
        assert_eq!(words("x"), "unknown error after kill: x");
    }
}
