//! `stop`, `kill`, `restart`, `pause`, `unpause`, `rename`, `resize`.
//!
//! Stop and kill take no turn: they only send signals, and the exit they bring about needs the turn itself.

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::services::tasks::v1::{PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest};

use super::Engine;
use super::container::Container;
use super::model::{Record, Status};
use super::signal;
use crate::error::{Error, ErrorKind, Result};

/// Seconds between the stop signal and SIGKILL when nobody says.
const STOP_TIMEOUT: i64 = 10;
/// How long a process may take to die of SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

fn not_running(id: &str) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

impl Engine {
    /// Stops a container: its stop signal, a wait, SIGKILL. `timeout` in seconds, negative for ever.
    ///
    /// # Errors
    /// 304 when it does not run.
    pub(crate) async fn stop(
        &self,
        container: &Arc<Container>,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let record = container.record();
        let signal = match signal.filter(|signal| !signal.is_empty()) {
            Some(text) => signal::parse(text)?,
            None => stop_signal(&record),
        };
        match record.state.status {
            Status::Running | Status::Paused => {}
            Status::Restarting => {
                container.change_anyway(|record| record.stopped_by_user = true);
                container.restart_wait.notify_one();
                self.until_down(container, KILL_PATIENCE).await;
                return Ok(());
            }
            _ => return Err(Error::not_modified()),
        }
        container.change_anyway(|record| record.stopped_by_user = true);
        let timeout = timeout.or(record.config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        self.send(container, &record, signal).await?;
        let ended = match u64::try_from(timeout) {
            Ok(seconds) => self.until_down(container, Duration::from_secs(seconds)).await,
            Err(_) => self.until_down(container, Duration::MAX).await,
        };
        if !ended {
            self.send(container, &record, SIGKILL).await?;
            self.until_down(container, Duration::MAX).await;
        }
        self.container_event("stop", &container.record(), &[]);
        Ok(())
    }

    /// Sends a signal; SIGKILL waits for the end.
    ///
    /// # Errors
    /// 409 when it does not run.
    pub(crate) async fn kill(&self, container: &Arc<Container>, signal: Option<&str>) -> Result<()> {
        let signal = signal
            .filter(|signal| !signal.is_empty())
            .map_or(Ok(SIGKILL), signal::parse)?;
        let record = container.record();
        if record.state.status == Status::Restarting {
            container.change_anyway(|record| record.stopped_by_user = true);
            container.restart_wait.notify_one();
            return Ok(());
        }
        if !record.state.is_running() {
            return Err(not_running(&record.id).context(format!("cannot kill container: {}", record.id)));
        }
        container.change_anyway(|record| record.stopped_by_user = true);
        self.send(container, &record, signal).await?;
        if signal == SIGKILL && !self.until_down(container, KILL_PATIENCE).await {
            return Err(Error::internal(format!(
                "cannot kill container: {}: tried to kill container, but did not receive an exit event",
                record.id
            )));
        }
        Ok(())
    }

    /// Sends a signal to the first process. A paused container is let go where the signal is to end it.
    async fn send(&self, container: &Arc<Container>, record: &Record, signal: u32) -> Result<()> {
        match self.signal_task(&container.id, "", signal, false).await {
            // It ended meanwhile: its exit is on the way.
            Err(error) if error.kind == ErrorKind::NotFound || error.message.contains("process already finished") => {}
            other => other?,
        }
        let paused = container.record().state.status == Status::Paused;
        if paused && (signal == SIGKILL || signal == stop_signal(record)) {
            self.resume_task(&container.id).await?;
        }
        self.container_event("kill", record, &[("signal", signal.to_string())]);
        Ok(())
    }

    /// Waits until there is no process; says whether that came in time.
    pub(crate) async fn until_down(&self, container: &Container, patience: Duration) -> bool {
        let mut life = container.life.subscribe();
        let exits = life.borrow().exits;
        let down = life.wait_for(|life| !life.running || life.exits > exits || life.removed);
        tokio::time::timeout(patience, down).await.is_ok()
    }

    /// Stops and starts.
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`].
    pub(crate) async fn restart(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        match self.stop(container, signal, timeout).await {
            Err(error) if error.kind != ErrorKind::NotModified => return Err(error),
            _ => {}
        }
        self.start(container).await?;
        self.container_event("restart", &container.record(), &[]);
        Ok(())
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// 409 when it does not run, or is frozen.
    pub(crate) async fn pause(&self, container: &Arc<Container>) -> Result<()> {
        let _turn = container.turn.lock().await;
        let record = container.record();
        match record.state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::conflict(format!("container {} is already paused", record.id))),
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    record.id
                )));
            }
            _ => return Err(not_running(&record.id)),
        }
        self.l3
            .tasks()
            .pause(PauseTaskRequest {
                container_id: record.id.clone(),
            })
            .await?;
        let record = container.change_anyway(|record| record.state.status = Status::Paused);
        self.container_event("pause", &record, &[]);
        Ok(())
    }

    /// Lets all processes go on.
    ///
    /// # Errors
    /// 409 when it is not frozen.
    pub(crate) async fn unpause(&self, container: &Arc<Container>) -> Result<()> {
        let _turn = container.turn.lock().await;
        let record = container.record();
        if record.state.status != Status::Paused {
            return Err(Error::conflict(format!("container {} is not paused", record.id)));
        }
        self.resume_task(&record.id).await?;
        let record = container.change_anyway(|record| record.state.status = Status::Running);
        self.container_event("unpause", &record, &[]);
        Ok(())
    }

    async fn resume_task(&self, id: &str) -> Result<()> {
        Ok(self
            .l3
            .tasks()
            .resume(ResumeTaskRequest {
                container_id: id.to_owned(),
            })
            .await
            .map(drop)?)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// 400 for its own name or none; 409 for a name that is taken.
    pub(crate) async fn rename(&self, container: &Arc<Container>, name: &str) -> Result<()> {
        let _turn = container.turn.lock().await;
        let old = container.record().name.clone();
        let bare = name.strip_prefix('/').unwrap_or(name);
        if bare.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        if bare == old {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        let new = self.containers.reserve(Some(bare), &container.id)?;
        match container.change(|record| record.name.clone_from(&new)) {
            Ok(record) => {
                self.containers.release(&old, &container.id);
                self.container_event("rename", &record, &[("oldName", format!("/{old}"))]);
                Ok(())
            }
            Err(error) => {
                container.change_anyway(|record| record.name.clone_from(&old));
                self.containers.release(&new, &container.id);
                Err(error)
            }
        }
    }

    /// Tells a terminal its size.
    ///
    /// # Errors
    /// 409 when it does not run.
    pub(crate) async fn resize(&self, container: &Container, exec_id: &str, height: u32, width: u32) -> Result<()> {
        if !container.record().state.is_running() {
            return Err(not_running(&container.id));
        }
        let request = ResizePtyRequest {
            container_id: container.id.clone(),
            exec_id: exec_id.to_owned(),
            width,
            height,
        };
        self.l3.tasks().resize_pty(request).await?;
        Ok(())
    }
}

fn stop_signal(record: &Record) -> u32 {
    signal::parse(&record.config.stop_signal).unwrap_or(SIGTERM)
}
