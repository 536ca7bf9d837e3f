//! Tasks over gRPC: from the API's messages to the shim's and back.

mod metrics;

use std::sync::Arc;

use containerd_grpc::containerd::services::tasks::v1::tasks_server::Tasks;
use containerd_proto::containerd::runc::v1::CheckpointOptions;
use containerd_proto::containerd::services::tasks::v1 as api;
use containerd_proto::containerd::task::v3 as shim;
use containerd_proto::containerd::v1::types::Process;
use containerd_rs_core::{Ctx, Error, validate_identifier};
use futures_util::StreamExt as _;
use tonic::{Request, Response, Status};

use super::request::{blocking, context};
use crate::serve::{from_ttrpc, status};
use crate::stores::Stores;
use crate::tasks::{Exit, Manager, NewTask, Shim, is_gone};

/// Shims that are asked beside one another, for lists.
const PARALLEL: usize = 64;

pub(crate) struct TasksService {
    pub(crate) manager: Manager,
    pub(crate) stores: Stores,
}

type Reply<T> = Result<Response<T>, Status>;

impl TasksService {
    /// The task of a container; the error says which of the two there is not.
    async fn task<T>(&self, request: &Request<T>, id: &str) -> Result<Arc<Shim>, Status> {
        let ctx = context(request)?;
        if let Some(shim) = self.manager.get(&ctx.namespace, id).await {
            return Ok(shim);
        }
        let (store, id) = (self.stores.containers.clone(), id.to_owned());
        let container = blocking(move || store.get(&ctx, &id)).await?;
        Err(Status::not_found(format!("task {} not found: not found", container.id)))
    }
}

/// A shim's status, passed on; a shim that is gone has no task.
fn answer(error: containerd_ttrpc::Status) -> Status {
    if is_gone(&error) {
        Status::not_found(format!("{}: not found", error.message))
    } else {
        from_ttrpc(error)
    }
}

fn deleted(id: &str, exit: Exit) -> Response<api::DeleteResponse> {
    Response::new(api::DeleteResponse {
        id: id.to_owned(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: exit.at,
    })
}

fn process(container: &str, state: shim::StateResponse) -> Process {
    let id = if state.exec_id.is_empty() {
        state.id
    } else {
        state.exec_id
    };
    Process {
        container_id: container.to_owned(),
        id,
        pid: state.pid,
        status: state.status,
        stdin: state.stdin,
        stdout: state.stdout,
        stderr: state.stderr,
        terminal: state.terminal,
        exit_status: state.exit_status,
        exited_at: state.exited_at,
    }
}

#[tonic::async_trait]
impl Tasks for TasksService {
    async fn create(&self, request: Request<api::CreateTaskRequest>) -> Reply<api::CreateTaskResponse> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        if request.checkpoint.is_some() {
            return Err(status(&Error::Unimplemented(
                "restoring from a checkpoint in the content store".into(),
            )));
        }
        let (store, wanted, id) = (
            self.stores.containers.clone(),
            ctx.clone(),
            request.container_id.clone(),
        );
        let container = blocking(move || store.get(&wanted, &id)).await?;
        let container_id = container.id.clone();
        let new = NewTask {
            container,
            rootfs: request.rootfs,
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            checkpoint: String::new(),
            options: request.options,
            runtime_path: request.runtime_path,
        };
        let pid = self.manager.create(ctx, new).await.map_err(|e| e.status())?;
        Ok(Response::new(api::CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<api::StartRequest>) -> Reply<api::StartResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let api::StartRequest {
            container_id: id,
            exec_id,
        } = request.into_inner();
        let started = task
            .task()
            .start(&task.context(), &shim::StartRequest { id, exec_id })
            .await
            .map_err(answer)?;
        Ok(Response::new(api::StartResponse { pid: started.pid }))
    }

    async fn delete(&self, request: Request<api::DeleteTaskRequest>) -> Reply<api::DeleteResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let id = task.id().to_owned();
        let exit = self.manager.delete(task).await.map_err(|e| e.status())?;
        Ok(deleted(&id, exit))
    }

    async fn delete_process(&self, request: Request<api::DeleteProcessRequest>) -> Reply<api::DeleteResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let exec_id = request.into_inner().exec_id;
        validate_identifier(&exec_id).map_err(|e| status(&e))?;
        let exit = task.delete(&exec_id).await.map_err(answer)?;
        Ok(deleted(&exec_id, exit))
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Reply<api::GetResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let state = task.state(&request.get_ref().exec_id).await.map_err(answer)?;
        Ok(Response::new(api::GetResponse {
            process: Some(process(task.id(), state)),
        }))
    }

    /// The filter of the request is not looked at, as containerd does not. Tasks that go while they are asked are left out.
    async fn list(&self, request: Request<api::ListTasksRequest>) -> Reply<api::ListTasksResponse> {
        let ctx = context(&request)?;
        let tasks = self.manager.list(Some(&ctx.namespace)).await;
        let states = futures_util::stream::iter(tasks).map(|task| async move {
            let state = task.state("").await;
            state
                .inspect_err(|error| tracing::debug!(id = task.id(), %error, "state"))
                .ok()
                .map(|state| process(task.id(), state))
        });
        let tasks = states.buffered(PARALLEL).filter_map(std::future::ready).collect().await;
        Ok(Response::new(api::ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<api::KillRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let api::KillRequest {
            container_id: id,
            exec_id,
            signal,
            all,
        } = request.into_inner();
        let request = shim::KillRequest {
            id,
            exec_id,
            signal,
            all,
        };
        task.task().kill(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn exec(&self, request: Request<api::ExecProcessRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let request = request.into_inner();
        validate_identifier(&request.exec_id)
            .map_err(|e| status(&e.context(format!("invalid exec id {}", request.exec_id))))?;
        let request = shim::ExecProcessRequest {
            id: request.container_id,
            exec_id: request.exec_id,
            terminal: request.terminal,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            spec: request.spec,
        };
        task.task().exec(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn resize_pty(&self, request: Request<api::ResizePtyRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let api::ResizePtyRequest {
            container_id: id,
            exec_id,
            width,
            height,
        } = request.into_inner();
        let request = shim::ResizePtyRequest {
            id,
            exec_id,
            width,
            height,
        };
        task.task()
            .resize_pty(&task.context(), &request)
            .await
            .map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn close_io(&self, request: Request<api::CloseIoRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let api::CloseIoRequest {
            container_id: id,
            exec_id,
            stdin,
        } = request.into_inner();
        let request = shim::CloseIoRequest { id, exec_id, stdin };
        task.task().close_io(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<api::PauseTaskRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let request = shim::PauseRequest {
            id: task.id().to_owned(),
        };
        task.task().pause(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn resume(&self, request: Request<api::ResumeTaskRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let request = shim::ResumeRequest {
            id: task.id().to_owned(),
        };
        task.task().resume(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn list_pids(&self, request: Request<api::ListPidsRequest>) -> Reply<api::ListPidsResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let request = shim::PidsRequest {
            id: task.id().to_owned(),
        };
        let pids = task.task().pids(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(api::ListPidsResponse {
            processes: pids.processes,
        }))
    }

    /// Into a directory that the options name. One that is to go into the content store is refused.
    async fn checkpoint(&self, request: Request<api::CheckpointTaskRequest>) -> Reply<api::CheckpointTaskResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let options = request.into_inner().options;
        let known = options
            .as_ref()
            .and_then(|any| containerd_proto::unpack::<CheckpointOptions>(any).ok());
        let path = known.map(|options| options.image_path).unwrap_or_default();
        if path.is_empty() {
            return Err(status(&Error::Unimplemented(
                "a checkpoint into the content store".into(),
            )));
        }
        let request = shim::CheckpointTaskRequest {
            id: task.id().to_owned(),
            path,
            options,
        };
        task.task()
            .checkpoint(&task.context(), &request)
            .await
            .map_err(answer)?;
        Ok(Response::new(api::CheckpointTaskResponse {
            descriptors: Vec::new(),
        }))
    }

    async fn update(&self, request: Request<api::UpdateTaskRequest>) -> Reply<()> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let api::UpdateTaskRequest {
            container_id: id,
            resources,
            annotations,
        } = request.into_inner();
        let request = shim::UpdateTaskRequest {
            id,
            resources,
            annotations,
        };
        task.task().update(&task.context(), &request).await.map_err(answer)?;
        Ok(Response::new(()))
    }

    async fn metrics(&self, request: Request<api::MetricsRequest>) -> Reply<api::MetricsResponse> {
        let ctx: Ctx = context(&request)?;
        let metrics = metrics::collect(&self.manager, &ctx, &request.into_inner().filters).await?;
        Ok(Response::new(api::MetricsResponse { metrics }))
    }

    async fn wait(&self, request: Request<api::WaitRequest>) -> Reply<api::WaitResponse> {
        let task = self.task(&request, &request.get_ref().container_id).await?;
        let exit = self
            .manager
            .wait(&task, &request.get_ref().exec_id)
            .await
            .map_err(answer)?;
        Ok(Response::new(api::WaitResponse {
            exit_status: exit.status,
            exited_at: exit.at,
        }))
    }
}
