//! Start and its end: protocols, groups, leftovers, and what a killed shim leaves to `delete`.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use containerd_proto::containerd::task::v3::*;
use containerd_ttrpc::Client;
use containerd_ttrpc::containerd::task::v3::TaskClient;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::*;

/// A bundle without a shim.
fn bundle(config: &str) -> (tempfile::TempDir, String) {
    let directory = directory();
    fs::write(directory.path().join("config.json"), config).unwrap();
    (directory, unique())
}

fn start(directory: &Path, id: &str, environment: &[(&str, &str)], stdin: &[u8]) -> std::process::Output {
    let address = directory.join("c.sock").display().to_string();
    run(
        directory,
        &["-namespace", NAMESPACE, "-id", id, "-address", &address, "start"],
        environment,
        stdin,
    )
}

async fn shutdown(address: &str) {
    let socket = PathBuf::from(address.strip_prefix("unix://").unwrap());
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let task = TaskClient::new(Client::connect(&socket).await.unwrap());
    let context = containerd_ttrpc::Context::default();
    let pid = task
        .connect(&context, &ConnectRequest::default())
        .await
        .unwrap()
        .shim_pid
        .cast_signed();
    task.shutdown(&context, &ShutdownRequest::default()).await.unwrap();
    until("the end of the shim", || !is_alive(pid)).await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn each_protocol_is_answered_in_kind() {
    let (directory, id) = bundle("{}");
    let output = start(directory.path(), &id, &[], b"");
    let address = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.stderr, b"");
    assert_eq!(fs::read_to_string(directory.path().join("address")).unwrap(), address);
    shutdown(&address).await;

    let output = start(directory.path(), &id, &[("MAX_SHIM_VERSION", "2")], b"");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, json!({"version": 2, "protocol": "ttrpc", "address": address}));
    shutdown(&address).await;

    let params = BootstrapParams {
        instance_id: id.clone(),
        namespace: NAMESPACE.into(),
        ..BootstrapParams::default()
    };
    let output = start(
        directory.path(),
        &id,
        &[("MAX_SHIM_VERSION", "2")],
        &params.encode_to_vec(),
    );
    let answer = BootstrapResult::decode(output.stdout.as_slice()).unwrap();
    assert_eq!((answer.version, answer.address.as_str()), (3, address.as_str()));
    shutdown(&address).await;
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    let processes = || {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
    };
    let sockets = || fs::read_dir("/run/containerd/s").map(|s| s.flatten().map(|e| e.file_name()).collect::<Vec<_>>());
    let bad_config = bundle("no json");
    let bad_cgroup = bundle("{}");
    let options = Options {
        shim_cgroup: "/no-such-cgroup-of-shims".into(),
        ..Options::default()
    };
    let options = containerd_proto::pack(&options).encode_to_vec();
    for ((directory, id), stdin) in [(bad_config, &b""[..]), (bad_cgroup, &options)] {
        let output = start(directory.path(), &id, &[], stdin);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(output.stderr.starts_with(b"containerd-shim-runc-rs-v2: "), "{output:?}");
        until("no process of it", || {
            !processes().any(|line| line.split(|byte| *byte == 0).any(|word| word == id.as_bytes()))
        })
        .await;
        let path = directory.path().join("address");
        if let Ok(address) = fs::read_to_string(path) {
            let name = Path::new(&address).file_name().unwrap().to_owned();
            assert!(!sockets().unwrap().contains(&name));
        }
    }
    let (directory, _) = bundle("{}");
    assert!(!start(directory.path(), "", &[], b"").status.success());
}

#[tokio::test]
async fn a_group_shares_a_shim_and_a_dead_ones_socket_is_replaced() {
    let config = json!({"annotations": {"io.kubernetes.cri.sandbox-id": unique()}}).to_string();
    let (first, second) = (bundle(&config), bundle(&config));
    let address = directory().path().join("c.sock").display().to_string();
    let start = |(directory, id): &(tempfile::TempDir, String)| {
        let arguments = ["-namespace", NAMESPACE, "-id", id, "-address", &address, "start"];
        let output = run(directory.path(), &arguments, &[], b"");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let one = start(&first);
    assert_eq!(start(&second), one);
    assert_eq!(fs::read_to_string(second.0.path().join("address")).unwrap(), one);
    let socket = one.strip_prefix("unix://").unwrap();
    let task = TaskClient::new(Client::connect(Path::new(socket)).await.unwrap());
    let context = containerd_ttrpc::Context::default();
    let pid = task
        .connect(&context, &ConnectRequest::default())
        .await
        .unwrap()
        .shim_pid
        .cast_signed();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until("the end of the shim", || !is_alive(pid)).await;
    assert!(Path::new(socket).exists());
    assert_eq!(start(&first), one);
    shutdown(&one).await;
}

/// Containers of a pod live and die by themselves; the shim goes with the last.
#[tokio::test]
async fn two_containers_in_one_shim() {
    let shim = Shim::new("sleep 1000").await;
    shim.create("", "").await;
    shim.start("").await.unwrap();
    let (id, bundle) = (unique(), shim.directory.path().join("second"));
    fs::create_dir(&bundle).unwrap();
    busybox(&bundle.join("rootfs"));
    fs::write(bundle.join("config.json"), config(&id, "exit 6").to_string()).unwrap();
    let request = CreateTaskRequest {
        id: id.clone(),
        bundle: bundle.display().to_string(),
        ..shim.create_request("", "")
    };
    shim.task.create(&shim.context, &request).await.unwrap();
    let twice = shim.task.create(&shim.context, &request).await.unwrap_err();
    assert_eq!(twice.code, containerd_ttrpc::Code::AlreadyExists);
    shim.task
        .start(
            &shim.context,
            &StartRequest {
                id: id.clone(),
                ..StartRequest::default()
            },
        )
        .await
        .unwrap();
    let wait = WaitRequest {
        id: id.clone(),
        ..WaitRequest::default()
    };
    assert_eq!(shim.task.wait(&shim.context, &wait).await.unwrap().exit_status, 6);
    shim.task
        .delete(
            &shim.context,
            &DeleteRequest {
                id: id.clone(),
                ..DeleteRequest::default()
            },
        )
        .await
        .unwrap();
    shim.task
        .shutdown(&shim.context, &ShutdownRequest { id, now: false })
        .await
        .unwrap();
    assert!(shim.is_alive() && shim.state("").await.is_ok());
    shim.kill("", 9).await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 137);
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn delete_cleans_up_after_a_killed_shim() {
    for binary_name in ["", "runc"] {
        let options = Options {
            binary_name: binary_name.into(),
            ..Options::default()
        };
        let shim = Shim::with("sleep 1000", options, |_| {}).await;
        let pid = shim.create("", "").await;
        shim.start("").await.unwrap();
        kill_process(Pid::from_raw(shim.pid).unwrap(), Signal::KILL).unwrap();
        until("the end of the shim", || !shim.is_alive()).await;
        assert!(is_alive(pid.cast_signed()));
        let bundle = shim.bundle.to_str().unwrap();
        let arguments = ["-namespace", NAMESPACE, "-id", &shim.id, "-bundle", bundle, "delete"];
        let output = run(&shim.bundle, &arguments, &[], b"");
        assert!(output.status.success(), "{output:?}");
        let answer = DeleteResponse::decode(output.stdout.as_slice()).unwrap();
        assert_eq!((answer.pid, answer.exit_status), (pid, 137));
        until("the end of the container", || !is_alive(pid.cast_signed())).await;
        shim.assert_clean();
        assert!(!shim.socket().exists());
        // Once more finds nothing to do, and is no failure.
        assert!(run(&shim.bundle, &arguments, &[], b"").status.success());
    }
}

#[tokio::test]
async fn a_signal_ends_the_shim_and_not_the_container() {
    let shim = Shim::new("sleep 1000").await;
    let pid = shim.create("", "").await.cast_signed();
    shim.start("").await.unwrap();
    let socket = shim.socket();
    kill_process(Pid::from_raw(shim.pid).unwrap(), Signal::TERM).unwrap();
    until("the end of the shim", || !shim.is_alive()).await;
    assert!(!socket.exists());
    assert!(is_alive(pid));
}

/// A program in a container may be the shim's own file by /proc; it must not be writable there (CVE-2019-5736).
#[tokio::test]
async fn the_serving_process_runs_from_where_it_cannot_be_overwritten() {
    let shim = Shim::new("true").await;
    let exe = format!("/proc/{}/exe", shim.pid);
    let flags = rustix::fs::statvfs(&exe).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    shim.end().await;
}

#[test]
fn version_and_info() {
    let (directory, _) = bundle("{}");
    let output = run(directory.path(), &["-v"], &[], b"");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("containerd-shim-runc-rs-v2:\n  Version:")
    );
    let output = run(directory.path(), &["-info"], &[], b"");
    assert!(output.status.success() && !output.stdout.is_empty());
    let output = run(directory.path(), &["-nope"], &[], b"");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn the_shim_joins_its_cgroup_and_is_nearer_to_the_oom_killer() {
    let name = unique();
    // cgroup v2, or one hierarchy of v1.
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let cgroup = Path::new(if unified {
        "/sys/fs/cgroup"
    } else {
        "/sys/fs/cgroup/pids"
    })
    .join(&name);
    fs::create_dir(&cgroup).unwrap();
    let (directory, id) = bundle("{}");
    let options = Options {
        shim_cgroup: format!("/{name}"),
        ..Options::default()
    };
    let output = start(
        directory.path(),
        &id,
        &[],
        &containerd_proto::pack(&options).encode_to_vec(),
    );
    let address = String::from_utf8(output.stdout).unwrap();
    let pid = fs::read_to_string(cgroup.join("cgroup.procs"))
        .unwrap()
        .trim()
        .to_owned();
    let score = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))
            .unwrap()
            .trim()
            .parse::<i32>()
            .unwrap()
    };
    assert_eq!(score(&pid), score("self") + 1);
    shutdown(&address).await;
    until("an empty cgroup", || fs::remove_dir(&cgroup).is_ok()).await;
}
