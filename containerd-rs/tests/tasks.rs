//! Tasks through Debian's shim and runc: made, ended, found again after a restart, and cleared away when something dies.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::Command;

use common::{Fixture, RUNTIME, until};
use containerd_grpc::containerd::services::events::v1::events_client::EventsClient;
use containerd_proto::containerd::events::TaskExit;
use containerd_proto::containerd::services::events::v1::SubscribeRequest;
use containerd_proto::containerd::services::tasks::v1 as tasks;
use containerd_proto::containerd::v1::types::Status;
use tokio_stream::StreamExt as _;
use tonic::Code;

fn parent(pid: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill9(pid: i32) {
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether a process runs; one that is only not reaped yet does not.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn task_goes_its_way_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    fixture.container("c", &["sh", "-c", "exit 3"]).await;
    assert_eq!(fixture.status("c").await.unwrap_err().code(), Code::NotFound);
    let pid = fixture.create_task("c").await.unwrap();
    assert!(pid > 0);
    assert_eq!(fixture.create_task("c").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(fixture.status("c").await.unwrap(), i32::from(Status::Created as u8));
    let bundle = fixture.bundles().join("c");
    assert_eq!(std::fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o700);
    for name in [
        "config.json",
        "bootstrap.json",
        "address",
        "shim-binary-path",
        "work",
        "log",
    ] {
        assert!(std::fs::symlink_metadata(bundle.join(name)).is_ok(), "{name}");
    }
    fixture.start_task("c").await;
    assert_eq!(fixture.wait("c").await, 3);
    assert_eq!(fixture.wait("c").await, 3, "as often as one asks, until it is deleted");
    assert_eq!(fixture.delete("c").await, 3);
    assert_eq!(fixture.status("c").await.unwrap_err().code(), Code::NotFound);
    let request = tasks::DeleteTaskRequest {
        container_id: "absent".into(),
    };
    assert_eq!(
        fixture
            .tasks()
            .delete(fixture.request(request))
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_runtime_refuses_leaves_nothing() {
    let fixture = Fixture::start().await;
    fixture.container("bad", &["true"]).await;
    std::fs::remove_file(fixture.rootfs().join("bin/busybox")).unwrap();
    let error = fixture.create_task("bad").await.unwrap_err();
    assert!(error.message().starts_with("failed to create shim task: "), "{error}");
    assert!(!fixture.bundles().join("bad").exists());
    std::fs::remove_dir_all(fixture.rootfs()).unwrap();
    fixture.container("good", &["true"]).await;
    fixture.create_task("bad").await.unwrap();
    fixture.start_task("bad").await;
    assert_eq!(fixture.wait("bad").await, 0);
    fixture.delete("bad").await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_goes_away_while_a_task_is_made_leaves_nothing() {
    let fixture = Fixture::start().await;
    fixture.container("gone", &["sleep", "1000"]).await;
    let making = fixture.create_task("gone");
    // Long enough to be on its way, not long enough for runc.
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(30), making)
            .await
            .is_err()
    );
    until("the bundle to come", async || fixture.bundles().join("gone").exists()).await;
    until("the bundle to go", async || !fixture.bundles().join("gone").exists()).await;
    fixture.create_task("gone").await.unwrap();
    fixture.kill("gone").await;
    fixture.wait("gone").await;
    fixture.delete("gone").await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_found_again_with_their_exits() {
    let fixture = Fixture::start().await;
    for id in ["runs", "ends"] {
        fixture.container(id, &["sleep", "1000"]).await;
        fixture.create_task(id).await.unwrap();
        fixture.start_task(id).await;
    }
    let request = tasks::GetRequest {
        container_id: "ends".into(),
        ..Default::default()
    };
    let pid = fixture
        .tasks()
        .get(fixture.request(request))
        .await
        .unwrap()
        .into_inner()
        .process
        .unwrap()
        .pid;
    let fixture = fixture.restart().await;
    assert_eq!(fixture.status("runs").await.unwrap(), i32::from(Status::Running as u8));
    kill9(i32::try_from(pid).unwrap());
    assert_eq!(fixture.wait("ends").await, 137);
    let fixture = fixture.restart().await;
    assert_eq!(fixture.wait("ends").await, 137);
    assert_eq!(fixture.delete("ends").await, 137);
    fixture.kill("runs").await;
    assert_eq!(fixture.wait("runs").await, 137);
    fixture.delete("runs").await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_shim_ends_those_who_wait_and_is_told_once() {
    let fixture = Fixture::start().await;
    fixture.container("lost", &["sleep", "1000"]).await;
    let pid = fixture.create_task("lost").await.unwrap();
    fixture.start_task("lost").await;
    let address = std::fs::read_to_string(fixture.bundles().join("lost/address")).unwrap();
    let socket = std::path::PathBuf::from(address.trim().strip_prefix("unix://").unwrap());
    assert!(socket.exists());
    let filters = vec![format!("namespace=={},topic==/tasks/exit", fixture.mark)];
    let mut events = EventsClient::new(fixture.engine.channel())
        .subscribe(SubscribeRequest { filters })
        .await
        .unwrap()
        .into_inner();
    let waiting = fixture.wait("lost");
    let killing = async {
        tokio::task::yield_now().await;
        kill9(parent(pid));
    };
    let (status, ()) = tokio::join!(waiting, killing);
    assert_eq!(status, 137);
    let event = events.next().await.unwrap().unwrap();
    let exit: TaskExit = containerd_proto::unpack(&event.event.unwrap()).unwrap();
    assert_eq!((exit.container_id.as_str(), exit.exit_status), ("lost", 137));
    until("the container to be killed", async || !runs(pid)).await;
    assert!(!socket.exists(), "the socket of a shim that was killed stays");
    fixture.create_task("lost").await.unwrap();
    fixture.kill("lost").await;
    fixture.wait("lost").await;
    fixture.delete("lost").await;
    fixture.finish().await;
}

/// A shim that was started for a task that was never made: what a manager leaves that dies in between.
#[tokio::test(flavor = "multi_thread")]
async fn leaked_shim_is_ended_at_start() {
    let fixture = Fixture::start().await;
    fixture.engine.shutdown().await;
    let bundle = fixture.bundles().join("leaked");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(bundle.join("rootfs"))
        .unwrap();
    std::fs::write(bundle.join("config.json"), "{}").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(bundle.join("log"))
            .status()
            .unwrap()
            .success()
    );
    let _log = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(bundle.join("log"))
        .unwrap();
    let shim = "/usr/bin/containerd-shim-runc-v2";
    let config = fixture.engine.config().clone();
    let output = Command::new(shim)
        .args(["-namespace", &fixture.mark, "-id", "leaked", "-address"])
        .arg(&config.address)
        .arg("start")
        .env("TTRPC_ADDRESS", &config.ttrpc_address)
        .env("GRPC_ADDRESS", &config.address)
        .env("NAMESPACE", &fixture.mark)
        .current_dir(&bundle)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::write(bundle.join("shim-binary-path"), shim).unwrap();
    let socket = String::from_utf8(output.stdout).unwrap();
    let socket = socket.trim().strip_prefix("unix://").unwrap().to_owned();
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let fixture = fixture.restart().await;
    until("the shim to end", async || {
        std::os::unix::net::UnixStream::connect(&socket).is_err()
    })
    .await;
    until("its bundle to go", async || !bundle.exists()).await;
    fixture.finish().await;
}

/// A shim that takes connections and does not answer may still have a container: nothing may be done to it.
#[tokio::test(flavor = "multi_thread")]
async fn shim_of_which_nothing_is_known_is_kept() {
    let fixture = Fixture::start().await;
    fixture.engine.shutdown().await;
    let bundle = fixture.bundles().join("mute");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(bundle.join("rootfs"))
        .unwrap();
    let socket = fixture.directory.path().join("mute.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answer = format!(
        r#"{{"version":2,"address":"unix://{}","protocol":"ttrpc"}}"#,
        socket.display()
    );
    std::fs::write(bundle.join("bootstrap.json"), answer).unwrap();
    std::fs::write(bundle.join("shim-binary-path"), "/usr/bin/containerd-shim-runc-v2").unwrap();
    let fixture = fixture.restart().await;
    let request = fixture.request(tasks::ListTasksRequest::default());
    let tasks = fixture.tasks().list(request).await.unwrap().into_inner().tasks;
    assert!(tasks.is_empty());
    fixture.container("mute", &["true"]).await;
    let error = fixture.create_task("mute").await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    assert!(bundle.join("bootstrap.json").exists());
    drop(listener);
    until("the bundle of a shim that is gone to go", async || !bundle.exists()).await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_engine_name_its_tasks() {
    let fixture = Fixture::start().await;
    fixture.container("m", &["sleep", "1000"]).await;
    fixture.create_task("m").await.unwrap();
    fixture.start_task("m").await;
    let text = fixture.engine.metrics().await;
    assert!(text.contains("containerd_rs_tasks 1"), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("container_memory_usage_usage_bytes{"))
        .unwrap();
    assert!(
        line.contains(r#"container_id="m""#) && line.contains(&fixture.mark),
        "{line}"
    );
    fixture.kill("m").await;
    fixture.wait("m").await;
    fixture.delete("m").await;
    assert!(fixture.engine.metrics().await.contains("containerd_rs_tasks 0"));
    assert_eq!(RUNTIME, "io.containerd.runc.v2");
    fixture.finish().await;
}
