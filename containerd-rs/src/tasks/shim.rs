//! A shim that serves: the connection to it, and the calls of its task.

use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_proto::containerd::task::v3 as api;
use containerd_rs_core::{Error, Result};
use containerd_ttrpc::containerd::task::v3::TaskClient;
use containerd_ttrpc::{Client, Code, Context, Status};
use tokio::sync::watch;

use super::answer::Answer;
use super::bundle::Bundle;
use super::error::is_gone;
use super::log::ShimLog;

/// The task service's name before version 3; methods and messages are the same.
const TASK_V2: &str = "containerd.task.v2.Task";
/// How long a freshly started shim may take until it accepts.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a shim may take to shut down.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);
/// How long who waits for an exit waits for the remains of a lost shim to be cleared away.
const CLEANUP_LIMIT: Duration = Duration::from_secs(60);

/// How a task ended, or an exec in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exit {
    pub(crate) pid: u32,
    pub(crate) status: u32,
    pub(crate) at: Option<prost_types::Timestamp>,
}

/// The shim of one task. Several may be the same process, when they are of one group.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) bundle: Bundle,
    /// Its program, for when it is gone and something must clean up.
    pub(crate) binary: PathBuf,
    /// Where it serves.
    pub(crate) address: String,
    /// The same as a path.
    pub(crate) socket: Option<PathBuf>,
    client: Client,
    task: TaskClient,
    /// How the task ended, when the shim was lost before it could say.
    lost: watch::Sender<Option<Exit>>,
    _log: Option<ShimLog>,
}

impl Shim {
    /// Connects to a shim that has just answered: it listens, or will in a moment.
    ///
    /// # Errors
    /// `Unavailable` when it does not accept in time.
    pub(crate) async fn connect(
        bundle: Bundle,
        binary: PathBuf,
        answer: &Answer,
        log: Option<ShimLog>,
    ) -> Result<Self> {
        let socket = answer.socket()?;
        let end = tokio::time::Instant::now() + CONNECT_LIMIT;
        loop {
            match Client::connect(&socket).await {
                Ok(client) => return Ok(Self::over(client, bundle, binary, answer, log)),
                Err(error) if tokio::time::Instant::now() > end => {
                    return Err(Error::Unavailable(format!(
                        "connect to shim at {}: {error}",
                        socket.display()
                    )));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Takes a connection that is there.
    pub(crate) fn over(client: Client, bundle: Bundle, binary: PathBuf, answer: &Answer, log: Option<ShimLog>) -> Self {
        let task = if answer.version >= 3 {
            TaskClient::new(client.clone())
        } else {
            TaskClient::with_service(client.clone(), TASK_V2)
        };
        let (lost, _) = watch::channel(None);
        Shim {
            bundle,
            binary,
            address: answer.address.clone(),
            socket: answer.socket().ok(),
            client,
            task,
            lost,
            _log: log,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.bundle.id
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.bundle.namespace
    }

    /// The calls of the task service.
    pub(crate) fn task(&self) -> &TaskClient {
        &self.task
    }

    /// What travels beside every call.
    pub(crate) fn context(&self) -> Context {
        Context::namespace(&self.bundle.namespace)
    }

    /// Returns when the connection is gone.
    pub(crate) async fn closed(&self) {
        self.client.closed().await;
    }

    /// Tells those who wait for the task how it ended, as far as anybody knows.
    pub(crate) fn set_lost(&self, exit: Exit) {
        self.lost.send_replace(Some(exit));
    }

    /// State of the task, or of an exec in it.
    pub(crate) async fn state(&self, exec_id: &str) -> std::result::Result<api::StateResponse, Status> {
        let request = api::StateRequest {
            id: self.id().to_owned(),
            exec_id: exec_id.to_owned(),
        };
        self.task.state(&self.context(), &request).await
    }

    /// Waits for the end of the task, or of an exec in it. A shim that is lost meanwhile leaves the answer to who cleans up after it.
    pub(crate) async fn wait(&self, exec_id: &str) -> std::result::Result<Exit, Status> {
        let request = api::WaitRequest {
            id: self.id().to_owned(),
            exec_id: exec_id.to_owned(),
        };
        match self.task.wait(&self.context(), &request).await {
            Ok(answer) => Ok(Exit {
                pid: 0,
                status: answer.exit_status,
                at: answer.exited_at,
            }),
            Err(status) if is_gone(&status) => self.lost_exit().await.ok_or(status),
            Err(status) => Err(status),
        }
    }

    /// How the task of a lost shim ended, once it is known.
    pub(crate) async fn lost_exit(&self) -> Option<Exit> {
        let mut lost = self.lost.subscribe();
        let known = tokio::time::timeout(CLEANUP_LIMIT, lost.wait_for(Option::is_some)).await;
        known.ok()?.ok().and_then(|exit| *exit)
    }

    /// Deletes the task, or an exec in it.
    pub(crate) async fn delete(&self, exec_id: &str) -> std::result::Result<Exit, Status> {
        let request = api::DeleteRequest {
            id: self.id().to_owned(),
            exec_id: exec_id.to_owned(),
        };
        let answer = self.task.delete(&self.context(), &request).await?;
        Ok(Exit {
            pid: answer.pid,
            status: answer.exit_status,
            at: answer.exited_at,
        })
    }

    /// Asks the shim to end, which it does when it has no task left, and waits until it has. One that serves others of its
    /// group stays (`shared`).
    ///
    /// # Errors
    /// The shim's answer, unless it was gone before it could give one.
    pub(crate) async fn shutdown(&self, shared: bool) -> std::result::Result<(), Status> {
        let request = api::ShutdownRequest {
            id: self.id().to_owned(),
            now: false,
        };
        let context = self.context().with_timeout(SHUTDOWN_LIMIT);
        match self.task.shutdown(&context, &request).await {
            Err(status) if !is_gone(&status) => return Err(status),
            _ => {}
        }
        if !shared && tokio::time::timeout(SHUTDOWN_LIMIT, self.closed()).await.is_err() {
            return Err(Status::new(Code::DeadlineExceeded, "the shim does not end"));
        }
        Ok(())
    }
}

/// Whether something listens on a socket at all.
pub(crate) enum Reached {
    /// It accepted.
    Client(Client),
    /// Nobody listens: the process is gone.
    Dead,
    /// Nothing is known.
    Unknown(std::io::Error),
}

/// Connects to a socket that was there before.
pub(crate) async fn reach(socket: &Path, limit: Duration) -> Reached {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
    match tokio::time::timeout(limit, Client::connect(socket)).await {
        Ok(Ok(client)) => Reached::Client(client),
        Ok(Err(error)) if matches!(error.kind(), ConnectionRefused | NotFound) => Reached::Dead,
        Ok(Err(error)) => Reached::Unknown(error),
        Err(_) => Reached::Unknown(TimedOut.into()),
    }
}
