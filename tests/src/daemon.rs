//! One `dockerd-rs`, or Debian's `dockerd`, of a test's own: data, sockets, bridge, cgroup parent and network namespace are private to it, and carry one mark.
//!
//! Tests in parallel therefore do not meet, and [`Daemon::finish`] can tell what was left behind.

#![allow(clippy::expect_used)] // a harness fails by panicking

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::leftovers::Snapshot;
use crate::programs::{ours, peer};

/// Which manager is below the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// containerd-rs, in the daemon's process.
    Embedded,
    /// containerd-rs, a process of its own.
    Ours,
    /// Debian's containerd, with Debian's shim and runc.
    Debian,
}

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `dockerd-rs`.
    Ours,
    /// Debian's `dockerd`, which starts a containerd of its own.
    Debian,
}

/// A daemon, its manager, and the namespace they run in.
#[derive(Debug)]
pub struct Daemon {
    mark: String,
    directory: PathBuf,
    engine: Engine,
    manager: Manager,
    extra: Vec<String>,
    daemon: Option<Child>,
    containerd: Option<Child>,
    before: Option<Snapshot>,
}

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    /// Starts one with the manager in its process.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::start_with(Manager::Embedded, &[])
    }

    /// Starts one over this manager, with further flags.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(manager: Manager, extra: &[&str]) -> Self {
        Self::start_engine(Engine::Ours, manager, extra)
    }

    /// Starts one of this kind with its own manager and further flags.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_of(engine: Engine, extra: &[&str]) -> Self {
        Self::start_engine(engine, Manager::Embedded, extra)
    }

    fn start_engine(engine: Engine, manager: Manager, extra: &[&str]) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        // Interface names end at 15 bytes: `d` + pid in base 36 + counter stays well below.
        let mark = format!("d{}x{}z", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let before = Snapshot::take(&mark);
        let directory = PathBuf::from(format!("/tmp/{mark}"));
        fs::create_dir(&directory).expect("private directory");
        fs::create_dir(directory.join("docker-config")).expect("client configuration");
        run(Command::new(peer("ip")).args(["netns", "add", &mark]));
        run(Command::new(peer("ip")).args(["-n", &mark, "link", "set", "lo", "up"]));
        let extra = extra.iter().map(|&flag| flag.to_owned()).collect();
        let mut own = Self {
            mark,
            directory,
            engine,
            manager,
            extra,
            daemon: None,
            containerd: None,
            before: Some(before),
        };
        own.start_manager();
        own.start_daemon();
        own
    }

    /// The string in the name of all that this daemon makes.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The private directory; the caller may put files there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// What daemon and manager wrote to their standard error so far.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        format!("{}{}", read("daemon.log"), read("containerd.log"))
    }

    /// A command that runs in the daemon's network namespace.
    pub fn in_netns(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(peer("nsenter"));
        command
            .arg(format!("--net=/run/netns/{}", self.mark))
            .arg("--")
            .arg(program);
        command
    }

    /// The `docker` CLI, talking to this daemon.
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.client(&peer("docker"), args)
    }

    /// Any client of the API, talking to this daemon.
    pub fn client<S: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.in_netns(program);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
            .env("DOCKER_CONFIG", self.directory.join("docker-config"))
            .env_remove("DOCKER_CONTEXT")
            .args(args);
        command
    }

    /// Runs `docker` and gives its output; standard input is empty.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.docker(args).stdin(Stdio::null()).output().expect("docker runs")
    }

    /// Runs `docker`, which must succeed, and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When it fails, with its output and the daemon's log.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.output(&args);
        assert!(
            output.status.success(),
            "docker {args:?}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Kills the daemon with SIGKILL, and the manager too when it is a process of its own and `both` says so.
    ///
    /// # Panics
    /// When it was not running.
    pub fn kill9(&mut self, both: bool) {
        end(self.daemon.take().expect("the daemon runs"));
        if both && let Some(manager) = self.containerd.take() {
            end(manager);
        }
    }

    /// Starts what [`Daemon::kill9`] killed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        if self.containerd.is_none() {
            self.start_manager();
        }
        self.start_daemon();
    }

    /// Removes all containers, stops everything, and fails if anything is left behind.
    ///
    /// # Panics
    /// With a list of what is left.
    pub fn finish(mut self) {
        let ids = self.ok(["ps", "-aq"]);
        if !ids.is_empty() {
            self.ok(["rm", "-f", "-v"].into_iter().chain(ids.lines()));
        }
        self.stop();
        if let Some(before) = self.before.take() {
            before.assert_unchanged(Duration::from_secs(10));
        }
    }

    fn stop(&mut self) {
        for child in [self.daemon.take(), self.containerd.take()].into_iter().flatten() {
            leave(child);
        }
        unmount_beneath(&self.directory);
        remove_cgroup_parent(&self.mark);
        let _ = Command::new(peer("ip"))
            .args(["netns", "del", &self.mark])
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(&self.directory);
    }

    fn start_manager(&mut self) {
        let root = self.directory.join("containerd");
        let socket = self.directory.join("containerd.sock");
        let config = self.directory.join("containerd.toml");
        let mut command = match self.manager {
            Manager::Embedded => return,
            Manager::Ours => {
                let mut command = self.in_netns(ours("containerd-rs"));
                command.env("PATH", our_path());
                command
            }
            Manager::Debian => self.in_netns(peer("containerd")),
        };
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            root.join("root"),
            root.join("state"),
            socket
        );
        fs::write(&config, text).expect("containerd's configuration");
        command
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_file("containerd.log"));
        self.containerd = Some(command.spawn().expect("containerd starts"));
        self.wait_for(|| UnixStream::connect(&socket).is_ok(), "containerd");
    }

    fn start_daemon(&mut self) {
        let mut command = match self.engine {
            Engine::Ours => {
                let mut command = self.in_netns(ours("dockerd-rs"));
                command.env("PATH", our_path()).args(["--bridge", &self.mark]);
                command
            }
            Engine::Debian => {
                let mut command = self.in_netns(peer("dockerd"));
                command.args([
                    "--exec-opt",
                    "native.cgroupdriver=cgroupfs",
                    "--storage-driver",
                    "overlay2",
                ]);
                command
            }
        };
        command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        command
            .arg("--data-root")
            .arg(self.directory.join("data"))
            .arg("--exec-root")
            .arg(self.directory.join("exec"));
        command.arg("--pidfile").arg(self.directory.join("pid"));
        command.args(["--cgroup-parent", &format!("/{}", self.mark), "--log-level", "debug"]);
        if self.manager != Manager::Embedded {
            command.arg("--containerd").arg(self.directory.join("containerd.sock"));
        }
        if self.manager == Manager::Ours {
            command.args(["--default-runtime", "runc-rs"]);
        }
        command
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_file("daemon.log"));
        self.daemon = Some(command.spawn().expect("the engine starts"));
        self.wait_for(|| answers(&self.socket()), "the engine");
    }

    fn log_file(&self, name: &str) -> File {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(name))
            .expect("log file")
    }

    fn wait_for(&self, ready: impl Fn() -> bool, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !ready() {
            assert!(Instant::now() < end, "{what} does not come up:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    /// After a panic: containers are taken away with what means are left, and everything else too.
    fn drop(&mut self) {
        if self.before.is_none() {
            return;
        }
        let _ = std::io::stderr().write_all(self.log().as_bytes());
        if self.daemon.is_some() {
            let ids = String::from_utf8_lossy(&self.output(["ps", "-aq"]).stdout).into_owned();
            self.output(["rm", "-f", "-v"].into_iter().chain(ids.lines()));
        }
        self.stop();
    }
}

/// `PATH` with our programs first: the manager looks for the shim there.
fn our_path() -> String {
    let own = ours("dockerd-rs");
    let directory = own.parent().map(|p| p.display().to_string()).unwrap_or_default();
    format!(
        "{directory}:{}",
        std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
    )
}

/// Whether `GET /_ping` gets its answer.
fn answers(socket: &Path) -> bool {
    let mut answer = String::new();
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.starts_with("HTTP/1.1 200")
}

fn run(command: &mut Command) {
    let output = command.output().expect("a command of the harness runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn leave(mut child: Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    let end_at = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end_at {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    end(child);
}

/// The cgroup that `--cgroup-parent` named is the test's own, and so is its removal. What is still in it stays, and is found.
fn remove_cgroup_parent(mark: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies
        .map(|entry| entry.path())
        .chain([PathBuf::from("/sys/fs/cgroup")])
    {
        let _ = fs::remove_dir(hierarchy.join(mark));
    }
}

fn unmount_beneath(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let prefix = directory.display().to_string();
    let mut points: Vec<_> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.starts_with(&prefix))
        .collect();
    points.reverse();
    for point in points {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Waits for something that comes by itself.
///
/// # Panics
/// When it does not, within [`PATIENCE`].
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fetches `/` over HTTP from within the daemon's network namespace.
///
/// # Panics
/// When curl cannot be run.
pub fn fetch(daemon: &Daemon, address: &str) -> String {
    let mut command = daemon.in_netns(peer("curl"));
    let output = command
        .args(["-s", "-m", "10"])
        .arg(format!("http://{address}/"))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
