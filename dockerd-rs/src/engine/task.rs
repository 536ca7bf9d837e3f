//! Tasks and container records of the layer below: the calls, and what their answers mean to us.

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::services::containers::v1::{
    Container as Lower, CreateContainerRequest, DeleteContainerRequest, container::Runtime,
};
use containerd_proto::containerd::services::snapshots::v1::{MountsRequest, RemoveSnapshotRequest};
use containerd_proto::containerd::services::tasks::v1::{
    CreateTaskRequest, DeleteTaskRequest, GetRequest, KillRequest, StartRequest,
};
use containerd_proto::containerd::types::Mount;
use containerd_proto::containerd::v1::types::Process;
use containerd_proto::{pack, type_urls};
use prost_types::Any;
use serde_json::Value;
use tonic::Code;

use super::Engine;
use super::model::Record;
use crate::config::Runtime as RuntimeConfig;
use crate::error::{Error, Result};

/// Where a process's streams go, as the shim takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) tty: bool,
}

impl Engine {
    fn runtime_of(&self, record: &Record) -> Result<&RuntimeConfig> {
        let name = record.host_config.runtime.as_str();
        self.config
            .runtimes
            .get(name)
            .ok_or_else(|| Error::invalid(format!("unknown or invalid runtime name: {name}")))
    }

    /// The mounts of a container's layer.
    pub(crate) async fn snapshot_mounts(&self, id: &str) -> Result<Vec<Mount>> {
        let request = MountsRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: id.to_owned(),
        };
        Ok(self.l3.snapshots().mounts(request).await?.into_inner().mounts)
    }

    /// Takes a container's layer away; what is gone is gone.
    pub(crate) async fn remove_snapshot(&self, id: &str) -> Result<()> {
        let request = RemoveSnapshotRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: id.to_owned(),
        };
        gone_is_fine(self.l3.snapshots().remove(request).await.map(drop))
    }

    /// Writes the record of the layer below.
    pub(crate) async fn create_lower(&self, record: &Record, spec: &Value) -> Result<()> {
        let runtime = self.runtime_of(record)?;
        let spec = serde_json::to_vec(spec).map_err(|e| Error::failed("spec", e))?;
        let lower = Lower {
            id: record.id.clone(),
            image: record.config.image.clone(),
            runtime: Some(Runtime {
                name: runtime.shim.clone(),
                options: options(runtime),
            }),
            spec: Some(Any {
                type_url: type_urls::SPEC.to_owned(),
                value: spec,
            }),
            snapshotter: self.l3.snapshotter().to_owned(),
            snapshot_key: record.id.clone(),
            ..Lower::default()
        };
        let create = async || {
            self.l3
                .containers()
                .create(CreateContainerRequest {
                    container: Some(lower.clone()),
                })
                .await
        };
        match create().await {
            Err(status) if status.code() == Code::AlreadyExists => {
                // Of a run whose end nobody cleaned up after.
                self.delete_lower(&record.id).await?;
                create().await?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Takes the record of the layer below away.
    pub(crate) async fn delete_lower(&self, id: &str) -> Result<()> {
        gone_is_fine(
            self.l3
                .containers()
                .delete(DeleteContainerRequest { id: id.to_owned() })
                .await
                .map(drop),
        )
    }

    /// Creates the task: shim and container stand, the program waits.
    pub(crate) async fn create_task(&self, record: &Record, rootfs: Vec<Mount>, stdio: &Stdio) -> Result<u32> {
        let request = CreateTaskRequest {
            container_id: record.id.clone(),
            rootfs,
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.tty,
            options: options(self.runtime_of(record)?),
            ..CreateTaskRequest::default()
        };
        let answer = self
            .l3
            .tasks()
            .create(request)
            .await
            .map_err(|status| Error::from(status).context("failed to create task for container"))?;
        Ok(answer.into_inner().pid)
    }

    /// Starts a task, or an exec of it.
    pub(crate) async fn start_task(&self, id: &str, exec_id: &str) -> Result<u32> {
        let request = StartRequest {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
        };
        Ok(self.l3.tasks().start(request).await?.into_inner().pid)
    }

    /// Sends a signal to a task, or to an exec of it.
    pub(crate) async fn signal_task(&self, id: &str, exec_id: &str, signal: u32, all: bool) -> Result<()> {
        let request = KillRequest {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
        };
        Ok(self.l3.tasks().kill(request).await.map(drop)?)
    }

    /// What the layer below knows of a task; none when it knows nothing.
    pub(crate) async fn get_task(&self, id: &str) -> Result<Option<Process>> {
        match self
            .l3
            .tasks()
            .get(GetRequest {
                container_id: id.to_owned(),
                exec_id: String::new(),
            })
            .await
        {
            Ok(answer) => Ok(answer.into_inner().process),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Takes a task away; one that still runs is killed first.
    pub(crate) async fn delete_task(&self, id: &str) -> Result<()> {
        let delete = async || {
            self.l3
                .tasks()
                .delete(DeleteTaskRequest {
                    container_id: id.to_owned(),
                })
                .await
        };
        for _ in 0..50 {
            match delete().await {
                Err(status) if status.code() == Code::FailedPrecondition => {
                    // Gone meanwhile is what is wanted.
                    let _ = self.signal_task(id, "", 9, true).await;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                other => return gone_is_fine(other.map(drop)),
            }
        }
        Err(Error::internal(format!("task {id} does not end")))
    }
}

fn gone_is_fine(outcome: Result<(), tonic::Status>) -> Result<()> {
    match outcome {
        Err(status) if status.code() != Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

fn options(runtime: &RuntimeConfig) -> Option<Any> {
    let binary_name = runtime.binary.clone()?;
    Some(pack(&Options {
        binary_name,
        ..Options::default()
    }))
}
