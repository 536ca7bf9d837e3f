//! An engine of one's own, in one process: the manager as a library, an image that the program makes itself, and a policy (every container's root is
//! read-only and has no network) that no other engine has.
//!
//! `custom_engine SHIM_DIRECTORY`, as root; `containerd-shim-runc-rs-v2` is in SHIM_DIRECTORY. Everything else is below a private directory.

use std::path::Path;

use containerd_grpc::NAMESPACE_HEADER;
use containerd_grpc::containerd::services::containers::v1::containers_client::ContainersClient;
use containerd_grpc::containerd::services::content::v1::content_client::ContentClient;
use containerd_grpc::containerd::services::diff::v1::diff_client::DiffClient;
use containerd_grpc::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use containerd_grpc::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use containerd_grpc::containerd::services::tasks::v1::tasks_client::TasksClient;
use containerd_proto::containerd::services::containers::v1::container::Runtime;
use containerd_proto::containerd::services::containers::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest,
};
use containerd_proto::containerd::services::content::v1::{WriteAction, WriteContentRequest};
use containerd_proto::containerd::services::diff::v1::ApplyRequest;
use containerd_proto::containerd::services::namespaces::v1::{CreateNamespaceRequest, Namespace};
use containerd_proto::containerd::services::snapshots::v1::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use containerd_proto::containerd::services::tasks::v1::{
    CreateTaskRequest, DeleteTaskRequest, StartRequest, WaitRequest,
};
use containerd_proto::containerd::types::{Descriptor, Mount};
use containerd_proto::type_urls;
use containerd_rs::{Config, Engine};
use engine_examples::{Result, busybox, spec};
use prost_types::Any;
use runtime_spec::Digest;
use tonic::Request;
use tonic::transport::Channel;

const NAMESPACE: &str = "custom";
const SNAPSHOTTER: &str = "overlayfs";

#[tokio::main]
async fn main() -> Result<()> {
    let shims = std::env::args_os()
        .nth(1)
        .ok_or("usage: custom_engine SHIM_DIRECTORY")?;
    // Overlay file systems can't stand on a tmpfs-backed overlay everywhere; /var/tmp is on disk.
    let directory = tempfile::tempdir_in("/var/tmp")?;
    let below = |name: &str| directory.path().join(name);
    let mut config = Config::new(below("root"), below("state"), below("engine.sock"));
    config.shim_directories = vec![shims.into()];
    let engine = Engine::start(config).await?;
    let outcome = run(engine.channel(), directory.path()).await;
    engine.shutdown().await;
    outcome
}

/// The manager is reached as it would be over a socket: the same services, the same messages, through memory.
async fn run(channel: Channel, directory: &Path) -> Result<()> {
    let namespace = Namespace {
        name: NAMESPACE.to_owned(),
        ..Namespace::default()
    };
    let create = CreateNamespaceRequest {
        namespace: Some(namespace),
    };
    NamespacesClient::new(channel.clone()).create(create).await?;
    let layer = layer(directory)?;
    let descriptor = write(&channel, &layer).await?;
    println!("layer: {} bytes, {}", descriptor.size, descriptor.digest);
    unpack(&channel, descriptor).await?;
    let code = contain(&channel, directory).await?;
    println!("exit status: {code}");
    Ok(())
}

/// The image's only layer: a tar of busybox.
fn layer(directory: &Path) -> Result<Vec<u8>> {
    let rootfs = directory.join("image");
    busybox(&rootfs)?;
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", rootfs)?;
    Ok(builder.into_inner()?)
}

async fn write(channel: &Channel, layer: &[u8]) -> Result<Descriptor> {
    let digest = Digest::of(layer).to_string();
    let size = i64::try_from(layer.len())?;
    let message = WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: format!("layer-{digest}"),
        total: size,
        expected: digest.clone(),
        data: layer.to_vec(),
        // Kept although nothing refers to it yet.
        labels: [("containerd.io/gc.root".to_owned(), "now".to_owned())].into(),
        ..WriteContentRequest::default()
    };
    let mut answers = ContentClient::new(channel.clone())
        .write(in_namespace(tokio_stream::once(message))?)
        .await?
        .into_inner();
    while answers.message().await?.is_some() {}
    Ok(Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        digest,
        size,
        ..Descriptor::default()
    })
}

/// Applies the layer to an empty snapshot, commits it as `image`, and prepares `container` on top.
async fn unpack(channel: &Channel, layer: Descriptor) -> Result<()> {
    let mut snapshots = SnapshotsClient::new(channel.clone());
    let mounts = prepare(&mut snapshots, "unpacking", "").await?;
    let apply = ApplyRequest {
        diff: Some(layer),
        mounts,
        ..ApplyRequest::default()
    };
    DiffClient::new(channel.clone()).apply(in_namespace(apply)?).await?;
    let commit = CommitSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        name: "image".to_owned(),
        key: "unpacking".to_owned(),
        ..CommitSnapshotRequest::default()
    };
    snapshots.commit(in_namespace(commit)?).await?;
    Ok(())
}

async fn prepare(snapshots: &mut SnapshotsClient<Channel>, key: &str, parent: &str) -> Result<Vec<Mount>> {
    let prepare = PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        labels: [("containerd.io/gc.root".to_owned(), "now".to_owned())].into(),
    };
    Ok(snapshots.prepare(in_namespace(prepare)?).await?.into_inner().mounts)
}

/// One container, from its snapshot to its exit status.
async fn contain(channel: &Channel, directory: &Path) -> Result<u32> {
    let mut snapshots = SnapshotsClient::new(channel.clone());
    let mut containers = ContainersClient::new(channel.clone());
    let rootfs = prepare(&mut snapshots, "container", "image").await?;
    let script = "echo hello from an engine of its own; touch /file 2>/dev/null || exit 7";
    let mut configuration = serde_json::to_value(spec(Path::new("rootfs"), &["sh", "-c", script])?)?;
    configuration["root"]["readonly"] = true.into();
    let container = Container {
        id: "container".to_owned(),
        runtime: Some(Runtime {
            name: "io.containerd.runc-rs.v2".to_owned(),
            options: None,
        }),
        spec: Some(Any {
            type_url: type_urls::SPEC.to_owned(),
            value: serde_json::to_vec(&configuration)?,
        }),
        ..Container::default()
    };
    containers
        .create(in_namespace(CreateContainerRequest {
            container: Some(container),
        })?)
        .await?;

    let mut tasks = TasksClient::new(channel.clone());
    let output = directory.join("output");
    let stdout = format!("file://{}", output.display());
    let id = || "container".to_owned();
    let create = CreateTaskRequest {
        container_id: id(),
        rootfs,
        stderr: stdout.clone(),
        stdout,
        ..CreateTaskRequest::default()
    };
    tasks.create(in_namespace(create)?).await?;
    tasks
        .start(in_namespace(StartRequest {
            container_id: id(),
            ..StartRequest::default()
        })?)
        .await?;
    let wait = WaitRequest {
        container_id: id(),
        ..WaitRequest::default()
    };
    let exit = tasks.wait(in_namespace(wait)?).await?.into_inner();
    tasks
        .delete(in_namespace(DeleteTaskRequest { container_id: id() })?)
        .await?;
    containers
        .delete(in_namespace(DeleteContainerRequest { id: id() })?)
        .await?;
    let remove = RemoveSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: id(),
    };
    snapshots.remove(in_namespace(remove)?).await?;
    print!("output: {}", std::fs::read_to_string(output)?);
    Ok(exit.exit_status)
}

fn in_namespace<T>(message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAMESPACE_HEADER, NAMESPACE.parse()?);
    Ok(request)
}
