//! One `containerd-rs` of a test's own, and Debian's `ctr` to speak to it. The mark is the containerd namespace, and so part of the names of
//! cgroups, shims and mounts.

#![allow(clippy::expect_used)] // a harness fails by panicking

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::image_tars::image_tar;
use crate::leftovers::Snapshot;
use crate::programs::{ours, peer};

/// How long anything may take before a test calls it stuck, in seconds.
const PATIENCE: u64 = 60;

/// Whose shim runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shim {
    /// Debian's, with Debian's runc.
    Debian,
    /// Ours.
    Ours,
}

impl Shim {
    /// The runtime's name.
    pub fn runtime(self) -> &'static str {
        match self {
            Shim::Debian => "io.containerd.runc.v2",
            Shim::Ours => "io.containerd.runc-rs.v2",
        }
    }
}

/// A manager with directories and socket of its own.
#[derive(Debug)]
pub struct Containerd {
    mark: String,
    directory: PathBuf,
    shim: Shim,
    child: Option<Child>,
    before: Option<Snapshot>,
}

/// The image that [`Containerd::import`] brings in.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

impl Containerd {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(shim: Shim) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mark = format!("ctr{}x{}z", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let before = Snapshot::take(&mark);
        let directory = PathBuf::from(format!("/tmp/{mark}"));
        fs::create_dir(&directory).expect("private directory");
        let mut own = Self {
            mark,
            directory,
            shim,
            child: None,
            before: Some(before),
        };
        own.start_again();
        own
    }

    /// Starts one with the busybox image in it.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_image(shim: Shim) -> Self {
        let own = Self::start(shim);
        own.import();
        own
    }

    /// Imports an image with busybox's applets, and answers with the archive.
    ///
    /// # Panics
    /// When the import fails.
    pub fn import(&self) -> PathBuf {
        let config = serde_json::json!({"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
        let tar = image_tar(&self.directory, IMAGE, &config);
        self.ok([OsStr::new("image"), OsStr::new("import"), tar.as_os_str()]);
        tar
    }

    /// Starts the daemon, again or for the first time.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .expect("log");
        let child = self.command(log).spawn().expect("containerd-rs starts");
        self.child = Some(child);
        self.until("the daemon", || UnixStream::connect(self.socket()).is_ok());
    }

    /// The daemon's command line.
    pub fn command(&self, log: File) -> Command {
        let mut command = Command::new(ours("containerd-rs"));
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .arg("--state")
            .arg(self.directory.join("state"));
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--log-level", "debug"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Ends the daemon with SIGTERM.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(child.id(), Signal::SIGTERM);
        let status = child.wait().expect("wait");
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The string in the name of all that belongs to this test; also the containerd namespace.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The private directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("c.sock")
    }

    /// What the daemon wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Where bundles are.
    pub fn bundles(&self) -> PathBuf {
        self.directory
            .join("state/io.containerd.runtime.v2.task")
            .join(&self.mark)
    }

    /// `ctr`, which is killed when it takes too long.
    pub fn ctr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(peer("timeout"));
        command.args(["-s", "KILL", &PATIENCE.to_string()]).arg(peer("ctr"));
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", &self.mark])
            .args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs `ctr`.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.ctr(args).output().expect("ctr runs")
    }

    /// Runs `ctr`, which must succeed, and answers with its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.ctr(args);
        let output = command.output().expect("ctr runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{command:?}: {}: {said}\n{}",
            output.status,
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `ctr`, which must fail, and answers with what it complains of.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.output(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success(),
            "succeeded: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        said
    }

    /// `ctr run` with the test's shim: flags, then the image, then id and command.
    pub fn run_args<'a>(&self, flags: &[&'a str], id: &'a str, command: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["run", "--runtime", self.shim.runtime()];
        args.extend_from_slice(flags);
        args.extend([IMAGE, id]);
        args.extend_from_slice(command);
        args
    }

    /// Runs a container in the background.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run_detached(&self, id: &str, command: &[&str]) {
        self.ok(self.run_args(&["-d"], id, command));
    }

    /// Pid and status of a task; `None` when there is none.
    pub fn task(&self, id: &str) -> Option<(u32, String)> {
        let list = self.ok(["task", "ls"]);
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id))?;
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.to_owned()))
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(PATIENCE);
        while !holds() {
            assert!(Instant::now() < end, "waited in vain for {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Removes all containers, images and leases, ends the daemon, and fails when anything is left that was not there before.
    ///
    /// # Panics
    /// With what is left.
    pub fn finish(mut self) {
        self.remove_all();
        let left = self.ok(["snapshot", "ls"]);
        assert_eq!(left.lines().count(), 1, "{left}");
        let left = self.ok(["content", "ls", "-q"]);
        assert_eq!(left, "");
        assert!(!self.bundles().exists() || fs::read_dir(self.bundles()).is_ok_and(|mut d| d.next().is_none()));
        self.terminate();
        self.clear();
        if let Some(before) = self.before.take() {
            before.assert_unchanged(Duration::from_secs(10));
        }
    }

    fn remove_all(&self) {
        for id in self.ok(["task", "ls", "-q"]).lines() {
            self.output(["task", "kill", "-s", "9", id]);
            self.output(["task", "rm", "-f", id]);
        }
        for id in self.ok(["container", "ls", "-q"]).lines() {
            self.ok(["container", "rm", id]);
        }
        for name in self.ok(["image", "ls", "-q"]).lines() {
            self.ok(["image", "rm", "--sync", name]);
        }
    }

    /// Removes what does not belong to a container, and what runtimes leave behind themselves: empty parents.
    fn clear(&self) {
        if let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") {
            for hierarchy in hierarchies.flatten() {
                let _ = fs::remove_dir(hierarchy.path().join(&self.mark));
            }
        }
        let _ = fs::remove_dir(Path::new("/run/containerd/runc").join(&self.mark));
        let _ = fs::remove_dir(Path::new("/run/containerd/runc-rs").join(&self.mark));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Containerd {
    /// After a panic: everything is taken away with what means are left.
    fn drop(&mut self) {
        if self.before.is_none() {
            return;
        }
        eprintln!("{}", self.log());
        if self.child.is_none() && self.directory.exists() {
            let log = fs::OpenOptions::new().append(true).open(self.directory.join("log"));
            self.child = log.ok().and_then(|log| self.command(log).spawn().ok());
            std::thread::sleep(Duration::from_secs(1));
        }
        let tasks = self.output(["task", "ls", "-q"]).stdout;
        for id in String::from_utf8_lossy(&tasks).lines() {
            self.output(["task", "kill", "-s", "9", id]);
            self.output(["task", "rm", "-f", id]);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.clear();
    }
}

/// Sends a signal to a process.
///
/// # Panics
/// When it is not there.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("pid"));
    kill(pid, signal).expect("kill");
}
