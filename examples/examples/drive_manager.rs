//! A client of the manager's gRPC API: runs a container without an image, and tells its output and exit status.
//!
//! `drive_manager SOCKET`, as root; SOCKET is containerd-rs's, or containerd's: the API is the same. `drive_manager SOCKET RUNTIME` takes another
//! runtime than `io.containerd.runc.v2`.

use containerd_grpc::NAMESPACE_HEADER;
use containerd_grpc::containerd::services::containers::v1::containers_client::ContainersClient;
use containerd_grpc::containerd::services::tasks::v1::tasks_client::TasksClient;
use containerd_grpc::containerd::services::version::v1::version_client::VersionClient;
use containerd_proto::containerd::services::containers::v1::container::Runtime;
use containerd_proto::containerd::services::containers::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest,
};
use containerd_proto::containerd::services::tasks::v1::{
    CreateTaskRequest, DeleteTaskRequest, StartRequest, WaitRequest,
};
use containerd_proto::containerd::types::Mount;
use containerd_proto::type_urls;
use engine_examples::{Result, busybox, spec};
use prost_types::Any;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

const NAMESPACE: &str = "example";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("usage: drive_manager SOCKET [RUNTIME]")?;
    let runtime = arguments.next().unwrap_or_else(|| "io.containerd.runc.v2".to_owned());
    let channel = connect(&socket).await?;
    let version = VersionClient::new(channel.clone()).version(()).await?.into_inner();
    println!("manager: {}", version.version);

    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs");
    busybox(&rootfs)?;
    let configuration = spec(
        std::path::Path::new("rootfs"),
        &["sh", "-c", "echo hello from a container; exit 7"],
    )?;
    let id = format!("drive-manager-{}", std::process::id());
    let container = Container {
        id: id.clone(),
        runtime: Some(Runtime {
            name: runtime,
            options: None,
        }),
        spec: Some(Any {
            type_url: type_urls::SPEC.to_owned(),
            value: serde_json::to_vec(&configuration)?,
        }),
        ..Container::default()
    };
    let mut containers = ContainersClient::new(channel.clone());
    containers
        .create(in_namespace(CreateContainerRequest {
            container: Some(container),
        })?)
        .await?;
    let outcome = run(channel, &id, &rootfs, directory.path()).await;
    containers.delete(in_namespace(DeleteContainerRequest { id })?).await?;
    outcome
}

/// Makes a task of the container, and sees it to its end.
async fn run(channel: Channel, id: &str, rootfs: &std::path::Path, directory: &std::path::Path) -> Result<()> {
    let mut tasks = TasksClient::new(channel);
    let output = directory.join("output");
    let stdout = format!("file://{}", output.display());
    let root = Mount {
        r#type: "bind".to_owned(),
        source: rootfs.display().to_string(),
        options: vec!["rbind".to_owned(), "rw".to_owned()],
        ..Mount::default()
    };
    let create = CreateTaskRequest {
        container_id: id.to_owned(),
        rootfs: vec![root],
        stderr: stdout.clone(),
        stdout,
        ..CreateTaskRequest::default()
    };
    let created = tasks.create(in_namespace(create)?).await?.into_inner();
    println!("created: pid {}", created.pid);
    let start = StartRequest {
        container_id: id.to_owned(),
        ..StartRequest::default()
    };
    tasks.start(in_namespace(start)?).await?;
    let wait = WaitRequest {
        container_id: id.to_owned(),
        ..WaitRequest::default()
    };
    let exit = tasks.wait(in_namespace(wait)?).await?.into_inner();
    println!("waited: exit status {}", exit.exit_status);
    tasks
        .delete(in_namespace(DeleteTaskRequest {
            container_id: id.to_owned(),
        })?)
        .await?;
    print!("output: {}", std::fs::read_to_string(output)?);
    Ok(())
}

async fn connect(socket: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("unix://{socket}"))?.connect().await?)
}

fn in_namespace<T>(message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAMESPACE_HEADER, NAMESPACE.parse()?);
    Ok(request)
}
