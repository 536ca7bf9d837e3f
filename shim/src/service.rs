//! The ttrpc face of the shim. Every call that changes something runs to its end, also when its caller gives up half-way.

use std::sync::Arc;

use containerd_proto::containerd::task::v3::{
    CheckpointTaskRequest, CloseIoRequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
    DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
    ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse,
    StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_ttrpc::containerd::task::v3::Task;
use containerd_ttrpc::{Context, Status};

use crate::error::Result;
use crate::shim::Shim;

/// Serves `containerd.task.v3.Task`, and under its older name v2.
#[derive(Debug)]
pub(crate) struct Service(pub(crate) Arc<Shim>);

type Answer<T> = std::result::Result<T, Status>;

/// Runs work to its end whether or not the caller still waits.
async fn finish<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(Status::from),
        Err(error) => Err(Status::unknown(error.to_string())),
    }
}

impl Task for Service {
    async fn state(&self, _: &Context, request: StateRequest) -> Answer<StateResponse> {
        Ok(self.0.state(&request.id, &request.exec_id)?)
    }

    async fn create(&self, _: &Context, request: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        let shim = Arc::clone(&self.0);
        let pid = finish(async move { shim.create(request).await }).await?;
        Ok(CreateTaskResponse { pid })
    }

    async fn start(&self, _: &Context, request: StartRequest) -> Answer<StartResponse> {
        let shim = Arc::clone(&self.0);
        let pid = finish(async move { shim.start(&request.id, &request.exec_id).await }).await?;
        Ok(StartResponse { pid })
    }

    async fn delete(&self, _: &Context, request: DeleteRequest) -> Answer<DeleteResponse> {
        let shim = Arc::clone(&self.0);
        finish(async move { shim.delete(&request.id, &request.exec_id).await }).await
    }

    async fn pids(&self, _: &Context, request: PidsRequest) -> Answer<PidsResponse> {
        let processes = self.0.pids(&request.id).await?;
        Ok(PidsResponse { processes })
    }

    async fn pause(&self, _: &Context, request: PauseRequest) -> Answer<()> {
        let shim = Arc::clone(&self.0);
        finish(async move { shim.pause(&request.id).await }).await
    }

    async fn resume(&self, _: &Context, request: ResumeRequest) -> Answer<()> {
        let shim = Arc::clone(&self.0);
        finish(async move { shim.resume(&request.id).await }).await
    }

    async fn checkpoint(&self, _: &Context, _: CheckpointTaskRequest) -> Answer<()> {
        Err(Status::unimplemented("checkpoint: not implemented"))
    }

    async fn kill(&self, _: &Context, request: KillRequest) -> Answer<()> {
        let shim = Arc::clone(&self.0);
        finish(async move {
            shim.kill(&request.id, &request.exec_id, request.signal, request.all)
                .await
        })
        .await
    }

    async fn exec(&self, _: &Context, request: ExecProcessRequest) -> Answer<()> {
        Ok(self.0.exec(request)?)
    }

    async fn resize_pty(&self, _: &Context, request: ResizePtyRequest) -> Answer<()> {
        Ok(self
            .0
            .resize(&request.id, &request.exec_id, request.width, request.height)?)
    }

    async fn close_io(&self, _: &Context, request: CloseIoRequest) -> Answer<()> {
        if request.stdin {
            self.0.close_stdin(&request.id, &request.exec_id)?;
        }
        Ok(())
    }

    async fn update(&self, _: &Context, request: UpdateTaskRequest) -> Answer<()> {
        let shim = Arc::clone(&self.0);
        finish(async move { shim.update(&request.id, request.resources).await }).await
    }

    async fn wait(&self, _: &Context, request: WaitRequest) -> Answer<WaitResponse> {
        Ok(self.0.wait(&request.id, &request.exec_id).await?)
    }

    async fn stats(&self, _: &Context, request: StatsRequest) -> Answer<StatsResponse> {
        let stats = self.0.stats(&request.id)?;
        Ok(StatsResponse { stats: Some(stats) })
    }

    async fn connect(&self, _: &Context, request: ConnectRequest) -> Answer<ConnectResponse> {
        // Managers ask before there is a container, too.
        let task_pid = self.0.process(&request.id, "").map_or(0, |(_, init)| init.wire_pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn shutdown(&self, _: &Context, request: ShutdownRequest) -> Answer<()> {
        self.0.shutdown(request.now);
        Ok(())
    }
}
