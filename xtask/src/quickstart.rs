//! `cargo xtask quickstart`: from a checkout to a running container in one command.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::Result;
use crate::build;
use crate::command::{output, run as run_command};
use crate::hello;

/// A bridge of its own: docker0 may be another engine's.
const BRIDGE: &str = "quick0";

/// Where, and whether to clean up.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The private directory; everything that the engine writes is below it.
    #[arg(long, default_value = "/var/tmp/engine-quickstart")]
    directory: PathBuf,
    /// Use the five programs in this directory instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Stop the engine and remove everything that an earlier quickstart left, and do no more.
    #[arg(long)]
    remove: bool,
}

/// Builds, starts, runs a container, explains.
///
/// # Errors
/// Whatever step fails, with the end of the daemon's log when it is the daemon's fault.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.remove {
        let built = || build::target_directory().join("release");
        return Place::new(options, options.programs.clone().unwrap_or_else(built)).remove();
    }
    let here = Place::new(options, options.programs.clone().map_or_else(build::build, Ok)?);
    if here.daemon().is_some() {
        eprintln!("xtask: an engine from an earlier quickstart is running; using it");
    } else {
        here.start()?;
    }
    let archive = here.path("hello-world.tar");
    fs::write(&archive, hello::archive()?)?;
    run_command(here.client(&["load", "--input"]).arg(&archive))?;
    run_command(&mut here.client(&["run", "--rm", "hello-world"]))?;
    println!("{}", here.explanation(options.programs.as_deref()));
    Ok(())
}

struct Place<'a> {
    directory: &'a Path,
    programs: PathBuf,
}

impl<'a> Place<'a> {
    fn new(options: &'a Options, programs: PathBuf) -> Self {
        let directory = &options.directory;
        Self { directory, programs }
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("docker-rs"));
        command.arg("--host").arg(self.host()).args(arguments);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// The pid of a daemon of this place, when one runs.
    fn daemon(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.path("dockerd-rs.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&line)
            .contains(&*self.directory.to_string_lossy())
            .then_some(pid)
    }

    fn start(&self) -> Result<()> {
        fs::create_dir_all(self.directory).map_err(|e| format!("{}: {e}", self.directory.display()))?;
        let log = File::create(self.path("dockerd-rs.log"))?;
        let mut daemon = Command::new(self.programs.join("dockerd-rs"));
        daemon
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("run"));
        daemon
            .arg("--pidfile")
            .arg(self.path("dockerd-rs.pid"))
            .arg("--host")
            .arg(self.host());
        daemon.args(["--bridge", BRIDGE]);
        daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Its own process group: an interrupt of this command is not one of the engine.
        std::os::unix::process::CommandExt::process_group(&mut daemon, 0);
        let mut child = daemon.spawn().map_err(|e| format!("start dockerd-rs: {e}"))?;
        self.wait_until_ready(&mut child)
    }

    fn wait_until_ready(&self, child: &mut Child) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if output(&mut self.client(&["version"])).is_ok() {
                return Ok(());
            }
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(self.path("dockerd-rs.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let what = ended.map_or("does not answer".to_owned(), |status| format!("ended: {status}"));
                return Err(format!("dockerd-rs {what}\n{}", tail.join("\n")).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn explanation(&self, programs: Option<&Path>) -> String {
        let (host, directory) = (self.host(), self.directory.display());
        let programs = programs.map_or_else(String::new, |programs| format!("--programs {} ", programs.display()));
        format!(
            "The engine is running. Point any Docker client at it:\n\n    export DOCKER_HOST={host}\n    docker run --rm hello-world\n\n\
             Its log is {directory}/dockerd-rs.log. Stop it and remove everything with:\n\n    \
             cargo xtask quickstart {programs}--directory {directory} --remove\n"
        )
    }

    /// Removes the containers, ends the daemon, and deletes the directory. A daemon that died is started again for it: it knows what there is to remove.
    fn remove(&self) -> Result<()> {
        if self.daemon().is_none() && self.path("data").exists() {
            self.start()?;
        }
        if let Some(pid) = self.daemon() {
            let containers = output(&mut self.client(&["ps", "--all", "--quiet", "--no-trunc"]))?;
            for id in containers.lines() {
                run_command(&mut self.client(&["rm", "--force", "--volumes", id]))?;
            }
            run_command(Command::new("kill").args(["-TERM", &pid.to_string()]))?;
            let end = Instant::now() + Duration::from_secs(20);
            while self.daemon().is_some() {
                if Instant::now() > end {
                    return Err(format!("dockerd-rs (pid {pid}) does not end").into());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            // An engine keeps its default bridge and rules for the next start; here there is none.
            run_command(Command::new("ip").args(["link", "delete", BRIDGE]))?;
            run_command(Command::new("nft").args(["delete", "table", "ip", &format!("docker-rs-{BRIDGE}")]))?;
        }
        match fs::remove_dir_all(self.directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {e}", self.directory.display()).into())
            }
            _ => Ok(()),
        }
    }
}
