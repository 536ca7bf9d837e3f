//! The task service as managers rely on it: order, errors, and that nothing is lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use containerd_proto::containerd::events::{TaskExit, TaskOom};

use containerd_proto::containerd::runc::v1::{Options, ProcessDetails};
use containerd_proto::containerd::task::v3::*;
use containerd_proto::containerd::types::Mount;
use containerd_proto::containerd::v1::types::Status as Phase;
use containerd_ttrpc::{Code, Context};
use serde_json::json;
use support::*;

fn runtimes() -> [Options; 2] {
    [String::new(), "runc".to_owned()].map(|binary_name| Options {
        binary_name,
        ..Options::default()
    })
}

#[tokio::test]
async fn a_life_in_order() {
    for options in runtimes() {
        let mut shim = Shim::with("exit 7", options, |_| {}).await;
        let pid = shim.create("", "").await;
        let state = shim.state("").await.unwrap();
        assert_eq!(
            (state.status, state.pid, state.id.as_str()),
            (Phase::Created as i32, pid, shim.id.as_str())
        );
        assert_eq!(shim.start("").await.unwrap(), pid);
        assert_eq!(shim.wait("").await.unwrap(), 7);
        let state = shim.state("").await.unwrap();
        assert_eq!((state.status, state.exit_status), (Phase::Stopped as i32, 7));
        assert!(state.exited_at.is_some());
        let deleted = shim.delete("").await.unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
        assert_eq!(
            shim.topics(4).await,
            ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
        );
        for status in [
            shim.state("").await.unwrap_err(),
            shim.wait("").await.unwrap_err(),
            shim.delete("").await.unwrap_err(),
        ] {
            assert_eq!(
                (status.code, status.message.as_str()),
                (Code::NotFound, "container not created: not found")
            );
        }
        shim.end().await;
    }
}

#[tokio::test]
async fn an_exit_is_kept_for_any_number_of_waiters() {
    let shim = Shim::new("exit 3").await;
    shim.create("", "").await;
    let early = (0..3).map(|_| shim.wait(""));
    let (early, started) = tokio::join!(futures_join(early), shim.start(""));
    started.unwrap();
    assert_eq!(early, [3, 3, 3]);
    for _ in 0..3 {
        assert_eq!(shim.wait("").await.unwrap(), 3);
    }
    shim.delete("").await.unwrap();
    shim.end().await;
}

async fn futures_join(
    waits: impl Iterator<Item = impl Future<Output = Result<u32, containerd_ttrpc::Status>>>,
) -> Vec<u32> {
    let mut waits: Vec<_> = waits.map(Box::pin).collect();
    let mut done = vec![None; waits.len()];
    std::future::poll_fn(|context| {
        for (wait, done) in waits.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(result) = wait.as_mut().poll(context)
            {
                *done = Some(result.unwrap());
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn execs_are_registered_started_and_fetched() {
    for options in runtimes() {
        let mut shim = Shim::with("sleep 1000", options, |_| {}).await;
        shim.create("", "").await;
        shim.start("").await.unwrap();
        let out = shim.directory.path().join("out");
        let reader = fifo(&out);
        shim.exec("e1", "echo hello; exit 5", out.to_str().unwrap())
            .await
            .unwrap();
        let twice = shim.exec("e1", "true", "").await.unwrap_err();
        assert_eq!(
            (twice.code, twice.message.as_str()),
            (Code::AlreadyExists, "id e1: already exists")
        );
        let early = shim.kill("e1", 9).await.unwrap_err();
        assert_eq!(
            (early.code, early.message.as_str()),
            (Code::FailedPrecondition, "process not created: failed precondition")
        );
        let pid = shim.start("e1").await.unwrap();
        assert_eq!(shim.wait("e1").await.unwrap(), 5);
        assert_eq!(read_all(reader, |all| all.len() == 6).await, b"hello\n");
        assert_eq!(shim.delete("e1").await.unwrap().pid, pid);
        let gone = shim.state("e1").await.unwrap_err();
        assert_eq!(
            (gone.code, gone.message.as_str()),
            (Code::NotFound, "process does not exist e1: not found")
        );
        assert_eq!(
            shim.topics(5).await[2..],
            ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]
        );

        shim.exec("e2", "sleep 1000", "").await.unwrap();
        shim.start("e2").await.unwrap();
        let pids = shim
            .task
            .pids(&shim.context, &PidsRequest { id: shim.id.clone() })
            .await
            .unwrap()
            .processes;
        assert_eq!(pids.len(), 2);
        let details = pids.iter().find_map(|process| process.info.as_ref()).unwrap();
        assert_eq!(
            containerd_proto::unpack::<ProcessDetails>(details).unwrap().exec_id,
            "e2"
        );
        // The first process's end takes the other along, and is told last.
        shim.kill("", 9).await.unwrap();
        assert_eq!(shim.wait("").await.unwrap(), 137);
        assert_eq!(shim.topics(2).await, ["/tasks/exec-added", "/tasks/exec-started"]);
        let exits = [shim.event().await, shim.event().await];
        let exits = exits.map(|e| containerd_proto::unpack::<TaskExit>(&e.event.unwrap()).unwrap());
        assert_eq!([&exits[0].id, &exits[1].id], [&"e2".to_owned(), &shim.id]);
        let late = shim.exec("e3", "true", "").await.unwrap_err();
        assert_eq!(late.code, Code::FailedPrecondition);
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_in_runcs_words_and_leaves_nothing() {
    for options in runtimes() {
        let shim = Shim::with("", options, |config| config["process"]["args"] = json!(["/no/such"])).await;
        let error = shim
            .task
            .create(&shim.context, &shim.create_request("", ""))
            .await
            .unwrap_err();
        let text = "OCI runtime create failed: runc create failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory";
        assert_eq!(error.message, text);
        assert_eq!(shim.state("").await.unwrap_err().code, Code::NotFound);
        shim.end().await;
    }
}

#[tokio::test]
async fn an_exec_that_fails_can_be_waited_for_and_deleted() {
    let shim = Shim::new("sleep 1000").await;
    shim.create("", "").await;
    shim.start("").await.unwrap();
    let request = ExecProcessRequest {
        id: shim.id.clone(),
        exec_id: "bad".into(),
        spec: Some(prost_types::Any {
            type_url: String::new(),
            value: json!({"args": ["no-such"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}})
                .to_string()
                .into_bytes(),
        }),
        ..ExecProcessRequest::default()
    };
    shim.task.exec(&shim.context, &request).await.unwrap();
    let error = shim.start("bad").await.unwrap_err();
    let text = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"no-such\": executable file not found in $PATH";
    assert_eq!(error.message, text);
    shim.wait("bad").await.unwrap();
    shim.delete("bad").await.unwrap();
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn what_runs_cannot_be_deleted_and_what_has_ended_cannot_be_killed() {
    let shim = Shim::new("sleep 1000").await;
    shim.create("", "").await;
    shim.start("").await.unwrap();
    assert_eq!(
        shim.start("").await.unwrap_err().message,
        "cannot start a running process: failed precondition"
    );
    let error = shim.delete("").await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            Code::FailedPrecondition,
            "cannot delete a running process: failed precondition"
        )
    );
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    let error = shim.kill("", 9).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::NotFound, "process already finished: not found")
    );
    assert_eq!(
        shim.start("").await.unwrap_err().message,
        "cannot start a stopped process: failed precondition"
    );
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn what_was_only_created_can_be_deleted_or_killed() {
    for options in runtimes() {
        let mut shim = Shim::with("true", options, |_| {}).await;
        shim.create("", "").await;
        assert_eq!(shim.delete("").await.unwrap().exit_status, 137);
        assert_eq!(shim.topics(3).await, ["/tasks/create", "/tasks/exit", "/tasks/delete"]);
        shim.create("", "").await;
        shim.kill("", 15).await.unwrap();
        shim.kill("", 9).await.ok();
        shim.wait("").await.unwrap();
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn pausing_stops_and_resuming_goes_on() {
    for options in runtimes() {
        let mut shim = Shim::with("sleep 1000", options, |_| {}).await;
        shim.create("", "").await;
        let pause = PauseRequest { id: shim.id.clone() };
        let resume = ResumeRequest { id: shim.id.clone() };
        let early = shim.task.pause(&shim.context, &pause).await.unwrap_err();
        assert_eq!(early.message, "cannot pause task in created state: failed precondition");
        shim.start("").await.unwrap();
        shim.task.pause(&shim.context, &pause).await.unwrap();
        assert_eq!(shim.state("").await.unwrap().status, Phase::Paused as i32);
        assert_eq!(
            shim.exec("e", "true", "").await.unwrap_err().code,
            Code::FailedPrecondition
        );
        shim.task.resume(&shim.context, &resume).await.unwrap();
        assert_eq!(shim.state("").await.unwrap().status, Phase::Running as i32);
        assert_eq!(shim.topics(4).await[2..], ["/tasks/paused", "/tasks/resumed"]);
        shim.kill("", 9).await.unwrap();
        assert_eq!(shim.wait("").await.unwrap(), 137);
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn what_is_paused_can_be_killed() {
    for options in runtimes() {
        let shim = Shim::with("sleep 1000", options, |_| {}).await;
        shim.create("", "").await;
        shim.start("").await.unwrap();
        let pause = PauseRequest { id: shim.id.clone() };
        shim.task.pause(&shim.context, &pause).await.unwrap();
        shim.kill("", 9).await.unwrap();
        assert_eq!(shim.wait("").await.unwrap(), 137);
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

/// The limit in the metrics of either layout.
fn memory_limit(stats: &prost_types::Any) -> u64 {
    use containerd_proto::io::containerd::cgroups::{v1, v2};
    if let Ok(metrics) = containerd_proto::unpack::<v2::Metrics>(stats) {
        return metrics.memory.unwrap().usage_limit;
    }
    let metrics: v1::Metrics = containerd_proto::unpack(stats).unwrap();
    metrics.memory.unwrap().usage.unwrap().limit
}

#[tokio::test]
async fn limits_usage_and_running_out_of_memory() {
    let hungry = "dd if=/dev/zero of=/tmp/x bs=1M count=1 2>/dev/null; exec tail /dev/zero";
    let mut shim = Shim::with(hungry, Options::default(), |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 1 << 30}});
    })
    .await;
    shim.create("", "").await;
    let request = UpdateTaskRequest {
        id: shim.id.clone(),
        resources: Some(prost_types::Any {
            type_url: containerd_proto::type_urls::LINUX_RESOURCES.into(),
            value: json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
                .to_string()
                .into_bytes(),
        }),
        ..UpdateTaskRequest::default()
    };
    shim.task.update(&shim.context, &request).await.unwrap();
    let stats = shim
        .task
        .stats(&shim.context, &StatsRequest { id: shim.id.clone() })
        .await
        .unwrap()
        .stats
        .unwrap();
    assert_eq!(memory_limit(&stats), 16 << 20);
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 137);
    assert_eq!(shim.topics(2).await, ["/tasks/create", "/tasks/start"]);
    let oom = shim.event().await;
    assert_eq!(
        containerd_proto::unpack::<TaskOom>(&oom.event.unwrap())
            .unwrap()
            .container_id,
        shim.id
    );
    assert_eq!(shim.topics(1).await, ["/tasks/exit"]);
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn the_root_filesystem_is_mounted_and_unmounted() {
    let shim = Shim::new("test -e /marker && echo x > /new").await;
    let lower = shim.bundle.join("rootfs");
    let moved = shim.directory.path().join("lower");
    fs::rename(&lower, &moved).unwrap();
    fs::write(moved.join("marker"), "").unwrap();
    for name in ["upper", "work"] {
        fs::create_dir(shim.directory.path().join(name)).unwrap();
    }
    let mut request = shim.create_request("", "");
    let overlay = |lower: &Path| Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            format!("lowerdir={}", lower.display()),
            format!("upperdir={}", shim.path("upper")),
            format!("workdir={}", shim.path("work")),
        ],
        ..Mount::default()
    };
    request.rootfs = vec![overlay(&moved), overlay(Path::new("/no/such"))];
    let error = shim.task.create(&shim.context, &request).await.unwrap_err();
    assert!(
        error.message.starts_with("failed to mount rootfs component: "),
        "{error}"
    );
    shim.assert_clean();
    request.rootfs.pop();
    shim.task.create(&shim.context, &request).await.unwrap();
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 0);
    shim.delete("").await.unwrap();
    assert_eq!(fs::read_to_string(shim.path("upper/new")).unwrap(), "x\n");
    shim.end().await;
}

/// containerd's own shims drop an event after some fifteen seconds.
#[tokio::test]
async fn an_exit_is_told_to_a_manager_that_comes_back() {
    let mut shim = Shim::new("exit 9").await;
    shim.deaf();
    shim.create("", "").await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 9);
    shim.listen();
    assert_eq!(shim.topics(3).await, ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_work() {
    let shim = Shim::new("exit 4").await;
    let hurried = Context::namespace(NAMESPACE).with_timeout(std::time::Duration::from_millis(1));
    let _ = shim.task.create(&hurried, &shim.create_request("", "")).await;
    let mut last = shim.state("").await;
    while last.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        last = shim.state("").await;
    }
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 4);
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn many_short_lives_lose_no_exit_and_no_descriptor() {
    let shim = Shim::new("sleep 1000").await;
    shim.create("", "").await;
    shim.start("").await.unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", shim.pid)).unwrap().count();
    let before = descriptors();
    for round in 0..40_u32 {
        let name = format!("e{round}");
        shim.exec(&name, &format!("exit {}", round % 7), "").await.unwrap();
        shim.start(&name).await.unwrap();
        assert_eq!(shim.wait(&name).await.unwrap(), round % 7);
        shim.delete(&name).await.unwrap();
    }
    assert!(
        descriptors() <= before,
        "{} descriptors, {before} before",
        descriptors()
    );
    let threads = || fs::read_dir(format!("/proc/{}/task", shim.pid)).unwrap().flatten();
    let children = || threads().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let count = || children().map(|list| list.split_whitespace().count()).sum::<usize>();
    until("no child but the container", || count() == 1).await;
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    shim.delete("").await.unwrap();
    shim.end().await;
}

/// The older name of the service, by which containerd before 2.0 calls.
#[tokio::test]
async fn version_two_is_served_too() {
    let shim = Shim::new("true").await;
    let old = containerd_ttrpc::containerd::task::v3::TaskClient::with_service(
        shim.client.clone(),
        "containerd.task.v2.Task",
    );
    let answer = old
        .connect(&shim.context, &ConnectRequest { id: shim.id.clone() })
        .await
        .unwrap();
    assert_eq!(answer.shim_pid.cast_signed(), shim.pid);
    shim.end().await;
}

#[tokio::test]
async fn who_waits_for_what_is_never_started_is_released() {
    let shim = Shim::new("sleep 1000").await;
    shim.create("", "").await;
    shim.start("").await.unwrap();
    shim.exec("e", "true", "").await.unwrap();
    let delete = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        shim.delete("e").await
    };
    let (waited, deleted) = tokio::join!(shim.wait("e"), delete);
    assert_eq!((waited.unwrap(), deleted.unwrap().pid), (255, 0));
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    shim.delete("").await.unwrap();
    shim.end().await;
}

/// Output of a talkative container must not grow the shim.
#[tokio::test]
async fn much_output_leaves_the_shim_small() {
    let shim = Shim::new("i=0; while [ $i -lt 20 ]; do i=$((i+1)); seq 1 20000; done; exec sleep 1000").await;
    let log = shim.path("log");
    let pid = shim
        .create(&format!("docker-json-file://{log}?max-size=1000000&max-file=2"), "")
        .await;
    shim.start("").await.unwrap();
    let anonymous = || {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", shim.pid)).unwrap();
        let line = smaps.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let program = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    until("the end of the output", || program().starts_with(b"sleep")).await;
    // The debug build's own data is most of it.
    until("a small shim", || anonymous() < 2048).await;
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    shim.delete("").await.unwrap();
    shim.end().await;
}
