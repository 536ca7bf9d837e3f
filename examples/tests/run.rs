//! Every example runs, and says what it should. Where an example talks to a program, it talks to ours and to the original.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use engine_tests::programs::{ours, peer};

/// Cargo builds the examples of a package before it runs its tests.
fn example<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> String {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples").join(name);
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "no line {line:?} in:\n{text}");
    }
}

#[test]
fn the_runtime_in_a_program() {
    let text = example::<&str>("embed_runtime", &[]);
    assert_lines(
        &text,
        &[
            "created: Created",
            "output: hello from runc",
            "exit status: 7",
            "hello from a second process",
        ],
    );
}

#[test]
fn the_runtime_in_an_asynchronous_program() {
    let text = example::<&str>("embed_async", &[]);
    let told: Vec<String> = (0..8)
        .map(|number| format!("from container {number} ended with {number}"))
        .collect();
    assert_lines(&text, &told.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_shim_under_another_manager() {
    let told = [
        "waited: exit status 7",
        "told: exit status 7",
        "event: /tasks/exit",
        "output: hello from a container",
    ];
    for shim in [ours("containerd-shim-runc-rs-v2"), peer("containerd-shim-runc-v2")] {
        assert_lines(&example("drive_shim", &[shim]), &told);
    }
}

#[test]
fn the_manager_by_grpc() {
    for (program, runtime) in [
        (ours("containerd-rs"), "io.containerd.runc-rs.v2"),
        (ours("containerd-rs"), "io.containerd.runc.v2"),
        (peer("containerd"), "io.containerd.runc.v2"),
    ] {
        let manager = Manager::start(&program);
        let text = example("drive_manager", &[manager.socket().as_os_str(), OsStr::new(runtime)]);
        assert_lines(&text, &["waited: exit status 7", "output: hello from a container"]);
    }
}

#[test]
fn an_engine_from_the_parts() {
    let shims = ours("containerd-shim-runc-rs-v2").parent().unwrap().to_owned();
    assert_lines(
        &example("custom_engine", &[shims]),
        &["output: hello from an engine of its own", "exit status: 7"],
    );
}

struct Manager {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl Manager {
    fn start(program: &Path) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket")
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let mut daemon = Command::new(program);
        daemon
            .arg("--config")
            .arg(at("config.toml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let manager = Self {
            daemon: daemon.spawn().unwrap(),
            directory,
        };
        let end = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(manager.socket()).is_err() {
            assert!(
                Instant::now() < end,
                "{}",
                std::fs::read_to_string(manager.directory.path().join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        manager
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        // TERM, so that the manager leaves in order.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
    }
}
