//! A manager in a hundred lines: starts a shim, has it run a container, and hears of its exit.
//!
//! `drive_shim SHIM`, as root; SHIM is `containerd-shim-runc-rs-v2`, or any other program that keeps containerd's shim contract.
//! It shows what the shim needs of its manager: a bundle, a socket for events, and calls of the task service over ttrpc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use containerd_proto::containerd::events::TaskExit;
use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_proto::containerd::task::v3::{
    CreateTaskRequest, DeleteRequest, ShutdownRequest, StartRequest, WaitRequest,
};
use containerd_ttrpc::containerd::services::events::ttrpc::v1::{Events, EventsClient, EventsServer};
use containerd_ttrpc::containerd::task::v3::TaskClient;
use containerd_ttrpc::{Client, Context, Server, Status};
use engine_examples::{Result, busybox, spec};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

const NAMESPACE: &str = "example";
const ID: &str = "drive-shim-example";

/// Prints every event, and hands exits on.
struct Printer(mpsc::UnboundedSender<TaskExit>);

impl Events for Printer {
    async fn forward(&self, _: &Context, request: ForwardRequest) -> std::result::Result<(), Status> {
        let envelope = request.envelope.unwrap_or_default();
        println!("event: {}", envelope.topic);
        let exit = envelope
            .event
            .and_then(|event| containerd_proto::unpack::<TaskExit>(&event).ok());
        // Nobody listens any more when the example is at its end.
        exit.into_iter().for_each(|exit| drop(self.0.send(exit)));
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let shim = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: drive_shim SHIM")?;
    let directory = tempfile::tempdir()?;
    let bundle = directory.path().join("bundle");
    let rootfs = bundle.join("rootfs");
    busybox(&rootfs)?;
    let configuration = spec(&rootfs, &["sh", "-c", "echo hello from a container; exit 7"])?;
    fs::write(bundle.join("config.json"), serde_json::to_vec(&configuration)?)?;

    // The shim writes its own log into a fifo of the bundle; held open here, so that it never waits for a reader.
    let log = bundle.join("log");
    mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let _log = fs::OpenOptions::new().read(true).write(true).open(log)?;

    let (exits, mut exit) = mpsc::unbounded_channel();
    let events = directory.path().join("events.sock");
    let listener = UnixListener::bind(&events)?;
    let server = Server::new().with(
        EventsClient::SERVICE,
        Arc::new(EventsServer::new(Arc::new(Printer(exits)))),
    );
    tokio::spawn(async move { server.serve(listener).await });

    let task = TaskClient::with_service(
        Client::connect(&start(&shim, &bundle, &events)?).await?,
        "containerd.task.v2.Task",
    );
    let context = Context::namespace(NAMESPACE);
    let output = directory.path().join("output");
    let (id, stdout) = (ID.to_owned(), format!("file://{}", output.display()));
    let create = CreateTaskRequest {
        id: id.clone(),
        bundle: bundle.display().to_string(),
        stderr: stdout.clone(),
        stdout,
        ..CreateTaskRequest::default()
    };
    let created = task.create(&context, &create).await?;
    println!("created: pid {}", created.pid);
    let wait = WaitRequest {
        id: id.clone(),
        ..WaitRequest::default()
    };
    task.start(
        &context,
        &StartRequest {
            id: id.clone(),
            ..StartRequest::default()
        },
    )
    .await?;
    let waited = task.wait(&context, &wait).await?;
    println!("waited: exit status {}", waited.exit_status);
    let told = exit.recv().await.ok_or("no exit event")?;
    println!("told: exit status {}", told.exit_status);
    task.delete(
        &context,
        &DeleteRequest {
            id: id.clone(),
            ..DeleteRequest::default()
        },
    )
    .await?;
    // A shim that shuts down may close the connection before it answers.
    let _ = task.shutdown(&context, &ShutdownRequest { id, now: false }).await;
    print!("output: {}", fs::read_to_string(output)?);
    Ok(())
}

/// Runs `SHIM start` in the bundle and reads the address of the serving process that it leaves behind.
fn start(shim: &Path, bundle: &Path, events: &Path) -> Result<PathBuf> {
    let output = Command::new(shim)
        .args(["-namespace", NAMESPACE, "-id", ID, "-address"])
        .arg(events.with_extension("grpc"))
        .args(["-publish-binary", "/bin/false", "start"])
        .current_dir(bundle)
        .env("TTRPC_ADDRESS", events)
        .env("MAX_SHIM_VERSION", "2")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{}: {text}{}", shim.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    // Version 2 answers with the bare address, version 3 with JSON.
    let address = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(answer) => answer["address"].as_str().unwrap_or_default().to_owned(),
        Err(_) => text.trim().to_owned(),
    };
    Ok(PathBuf::from(address.trim_start_matches("unix://")))
}
