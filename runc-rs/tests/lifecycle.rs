//! A container's life through the real program: every command, every status, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::Bundle;
use serde_json::json;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn create_start_kill_delete() {
    let mut bundle = Bundle::new();
    bundle
        .set("/process/args", json!(["/bin/sleep", "1000"]))
        .set("/annotations", json!({"a": "b"}));
    bundle.create().ok();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["annotations"]["a"], "b");
    let pid = state["pid"].as_i64().unwrap();
    assert!(pid > 0);
    bundle.start().ok();
    assert_eq!(bundle.state()["status"], "running");
    assert!(
        bundle
            .start()
            .err()
            .contains("cannot start an already running container")
    );
    let refused = bundle.call(&["delete", &bundle.id]).err();
    assert!(
        refused.contains(&format!(
            "cannot delete container {} that is not stopped: running",
            bundle.id
        )),
        "{refused}"
    );
    bundle.call(&["kill", &bundle.id, "KILL"]).ok();
    wait_until("the end", || bundle.state()["status"] == "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    assert!(
        bundle
            .call(&["kill", &bundle.id, "9"])
            .err()
            .contains("container not running")
    );
    assert!(
        bundle
            .start()
            .err()
            .contains("cannot start a container that has stopped")
    );
    assert!(
        bundle
            .exec(&["true"])
            .err()
            .contains("cannot exec in a stopped container")
    );
    bundle.call(&["delete", &bundle.id]).ok();
    assert!(
        bundle
            .call(&["state", &bundle.id])
            .err()
            .contains("container does not exist")
    );
    bundle.assert_nothing_left();
}

#[test]
fn an_id_is_taken_once_and_free_again_after_delete() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    assert!(bundle.create().err().contains("container with given ID already exists"));
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.create().ok();
    bundle.call(&["delete", &bundle.id]).ok();
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn the_exit_code_of_run_is_the_programs() {
    let mut bundle = Bundle::new();
    assert_eq!(bundle.run_script("exit 42").code, 42);
    // The first process of a pid namespace of its own would not hear its own signal.
    bundle.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]));
    assert_eq!(bundle.run_script("kill -9 $$; sleep 5").code, 0x80 + 9);
    bundle.assert_nothing_left();
}

#[test]
fn exec_joins_every_namespace_and_passes_the_code_on() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let script = "for n in pid net ipc uts mnt; do readlink /proc/self/ns/$n; done; exit 7";
    let outcome = bundle.exec(&["/bin/sh", "-c", script]);
    assert_eq!(outcome.code, 7, "{}", outcome.stderr);
    let expected: String = ["pid", "net", "ipc", "uts", "mnt"]
        .iter()
        .map(|n| format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().display()))
        .collect();
    assert_eq!(outcome.stdout, expected);
    let cgroup = bundle.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert!(cgroup.lines().all(|line| line.ends_with(&bundle.id)), "{cgroup}");
}

#[test]
fn exec_failures_have_runcs_words() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    fs::write(bundle.rootfs().join("etc/plain"), "x").unwrap();
    for (args, words) in [
        (
            &["nope"][..],
            r#"exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH"#,
        ),
        (&["/nope"], r#"exec: \"/nope\": stat /nope: no such file or directory"#),
        (&["/etc/plain"], r#"exec: \"/etc/plain\": permission denied"#),
        (&["/bin"], r#"exec: \"/bin\": permission denied"#),
    ] {
        let outcome = bundle.exec(args);
        assert_eq!(outcome.code, 255);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
    let outcome = bundle.call(&["exec", "--cwd", "/nope", &bundle.id, "true"]).err();
    assert!(outcome.contains("failed: no such file or directory"), "{outcome}");
}

#[test]
fn a_program_that_cannot_be_found_leaves_nothing() {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["nope"]));
    let words = bundle.create().err();
    assert!(words.contains(r#"runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH"#), "{words}");
    bundle.assert_nothing_left();
}

#[test]
fn pause_holds_and_resume_lets_go() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    bundle.call(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    assert!(
        bundle
            .exec(&["true"])
            .err()
            .contains("cannot exec in a paused container")
    );
    bundle.call(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "running");
    bundle.exec(&["true"]).ok();
    bundle.call(&["pause", &bundle.id]).ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn ps_and_list_show_the_container() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    assert_eq!(
        bundle.call(&["ps", "-f", "json", &bundle.id]).ok(),
        format!("[{pid}]\n")
    );
    let table = bundle.call(&["ps", &bundle.id]).ok();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("sleep 1000"));
    assert_eq!(bundle.call(&["list", "-q"]).ok(), format!("{}\n", bundle.id));
    let list: serde_json::Value = serde_json::from_str(&bundle.call(&["list", "-f", "json"]).ok()).unwrap();
    assert_eq!(list[0]["pid"], pid);
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    assert_eq!(bundle.call(&["list", "-f", "json"]).ok(), "null\n");
}

#[test]
fn update_sets_limits_and_stats_show_usage() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/resources", json!({"pids": {"limit": 50}}));
    bundle.sleeping();
    let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}").replace("ID", &bundle.id)).unwrap();
    assert_eq!(read("pids/ID/pids.max").trim(), "50");
    bundle
        .call(&["update", "--pids-limit", "33", "--memory", "67108864", &bundle.id])
        .ok();
    assert_eq!(read("pids/ID/pids.max").trim(), "33");
    assert_eq!(read("memory/ID/memory.limit_in_bytes").trim(), "67108864");
    let stats: serde_json::Value = serde_json::from_str(&bundle.call(&["events", "--stats", &bundle.id]).ok()).unwrap();
    assert_eq!(stats["data"]["pids"]["current"], 1);
}

#[test]
fn a_killed_creator_leaves_a_container_that_can_be_deleted() {
    let mut bundle = Bundle::new();
    let marker = bundle.dir.path().join("hook-runs");
    let script = format!("touch {}; sleep 1000", marker.display());
    bundle.set(
        "/hooks",
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}),
    );
    bundle.write_config();
    let mut creator = bundle.command(&["create", &bundle.id]).spawn().unwrap();
    wait_until("the hook", || marker.exists());
    creator.kill().unwrap();
    creator.wait().unwrap();
    bundle.call(&["delete", &bundle.id]).ok();
    bundle.assert_nothing_left();
    // The hook is nobody's now.
    let hooks = std::process::Command::new("pgrep")
        .args(["-f", &script])
        .output()
        .unwrap()
        .stdout;
    for pid in String::from_utf8(hooks).unwrap().split_whitespace() {
        std::process::Command::new("kill").arg(pid).status().unwrap();
    }
}

#[test]
fn a_terminal_arrives_at_the_console_socket() {
    use std::os::unix::net::UnixListener;
    let mut bundle = Bundle::new();
    bundle
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({"height": 24, "width": 77}));
    bundle.script("tty; stty size; [ -c /dev/console ] && echo console; echo end");
    bundle.write_config();
    let path = bundle.dir.path().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let pid_file = bundle.dir.path().join("pid");
    let args = [
        "create",
        "--console-socket",
        path.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        &bundle.id,
    ];
    bundle.call(&args).ok();
    let (stream, _) = listener.accept().unwrap();
    let master = receive_fd(&stream);
    assert_eq!(
        fs::read_to_string(&pid_file).unwrap(),
        bundle.state()["pid"].to_string()
    );
    bundle.start().ok();
    let mut text = Vec::new();
    // A terminal ends with EIO.
    let _ = fs::File::from(master).read_to_end(&mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "/dev/pts/0\r\n24 77\r\nconsole\r\nend\r\n"
    );
}

fn receive_fd(stream: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::FromRawFd;
    let mut data = [0_u8; 64];
    let mut iov = [std::io::IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!(i32);
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .unwrap();
    let fd = message
        .cmsgs()
        .unwrap()
        .find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        })
        .unwrap();
    #[allow(unsafe_code)]
    // SAFETY: the descriptor was just received and is owned by nobody else.
    unsafe {
        std::os::fd::OwnedFd::from_raw_fd(fd)
    }
}

#[test]
fn the_log_holds_errors_as_json() {
    let bundle = Bundle::new();
    let log = bundle.dir.path().join("log.json");
    let outcome = bundle.call(&["--log", log.to_str().unwrap(), "--log-format", "json", "state", "nope"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (1, "container does not exist\n")
    );
    let line: serde_json::Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str()),
        (Some("error"), Some("container does not exist"))
    );
}

#[test]
fn spec_and_features_print_what_others_read() {
    let bundle = Bundle::new();
    bundle.call(&["spec"]).ok();
    let again = bundle.call(&["spec"]).err();
    assert!(again.contains("File config.json exists"), "{again}");
    let features: serde_json::Value = serde_json::from_str(&bundle.call(&["features"]).ok()).unwrap();
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
}

#[test]
fn containers_made_at_once_do_not_meet() {
    let bundles: Vec<Bundle> = (0..8).map(|_| Bundle::new()).collect();
    std::thread::scope(|scope| {
        for mut bundle in bundles {
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(bundle.run_script("hostname; exit 3").code, 3);
                }
                bundle.assert_nothing_left();
            });
        }
    });
}

#[test]
fn listening_sockets_are_passed_on() {
    let mut bundle = Bundle::new();
    bundle.script("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    bundle.write_config();
    let script = format!(
        "echo three > {0}/three; exec 3<{0}/three; LISTEN_FDS=1 LISTEN_PID=$$ exec {1} --root {2} run {3}",
        bundle.dir.path().display(),
        common::program().display(),
        bundle.state_root().display(),
        bundle.id
    );
    let output = std::process::Command::new("/bin/bash")
        .args(["-c", &script])
        .current_dir(bundle.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 1\nthree\n");
}

#[test]
fn without_the_right_to_clone_mounts_the_program_runs_from_sealed_memory() {
    let bundle = Bundle::new();
    let copy = bundle.dir.path().join("runtime");
    fs::copy(common::program(), &copy).unwrap();
    std::process::Command::new("chmod")
        .arg("755")
        .arg(bundle.dir.path())
        .arg(&copy)
        .status()
        .unwrap();
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy);
    // It waits for its configuration, after it has sealed itself.
    let config = bundle.dir.path().join("config.json");
    rustix::fs::mknodat(rustix::fs::CWD, &config, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let mut child = command
        .arg("create")
        .arg("--bundle")
        .arg(bundle.dir.path())
        .arg("x")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the sealed program", || {
        fs::read_link(format!("/proc/{}/exe", child.id()))
            .is_ok_and(|exe| exe.to_string_lossy().contains("memfd:runc-rs"))
    });
    fs::write(config, "no JSON").unwrap();
    child.wait().unwrap();
}

#[test]
fn a_cgroup_that_is_somebody_elses_is_refused_and_left_alone() {
    let mut bundle = Bundle::new();
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let name = format!("{}-other", bundle.id);
    for controller in ["devices", "pids"] {
        let directory = format!("/sys/fs/cgroup/{controller}/{name}");
        fs::create_dir(&directory).unwrap();
        fs::write(format!("{directory}/cgroup.procs"), other.id().to_string()).unwrap();
    }
    bundle.set("/linux/cgroupsPath", json!(format!("/{name}")));
    let words = bundle.create().err();
    assert!(
        words.contains("container's cgroup is not empty: 1 process(es) found"),
        "{words}"
    );
    bundle.set("/linux/cgroupsPath", json!("/"));
    let words = bundle.create().err();
    assert!(words.contains("container's cgroup is not empty"), "{words}");
    assert!(other.try_wait().unwrap().is_none(), "the other process was killed");
    other.kill().unwrap();
    other.wait().unwrap();
    for controller in ["devices", "pids"] {
        fs::remove_dir(format!("/sys/fs/cgroup/{controller}/{name}")).unwrap();
    }
}
