//! Engines under the `docker` command: dockerd-rs and dockerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::containers;
use super::daemon::Daemon;
use super::measure::{Samples, time};
use super::report::Report;
use crate::Result;
use crate::command::output;

/// One running engine with data of its own; ended when dropped.
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    daemon: Daemon,
}

impl Engine {
    /// Starts `program` with a private data directory below `base`, and loads `archive`.
    pub(crate) fn start(name: &str, program: &Path, base: &Path, archive: &Path) -> Result<Self> {
        let directory = base.join(name);
        fs::create_dir_all(&directory)?;
        let mut command = Command::new(program);
        for (flag, file) in [("--data-root", "data"), ("--exec-root", "run"), ("--pidfile", "pid")] {
            command.arg(flag).arg(directory.join(file));
        }
        command.arg("--host").arg(host(&directory));
        let version = || {
            let mut docker = docker(&directory);
            docker.arg("version");
            docker
        };
        let daemon = Daemon::start(command, &directory.join("log"), version)?;
        let engine = Self {
            name: name.to_owned(),
            directory,
            daemon,
        };
        output(engine.docker().arg("load").arg("--input").arg(archive))?;
        Ok(engine)
    }

    /// The `docker` command, talking to this engine.
    pub(crate) fn docker(&self) -> Command {
        docker(&self.directory)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(ids) = output(self.docker().args(["ps", "--all", "--quiet"])) {
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                let _ = output(self.docker().args(["rm", "--force"]).args(ids));
            }
        }
    }
}

/// The API's socket of an engine with this directory.
fn host(directory: &Path) -> String {
    format!("unix://{}", directory.join("socket").display())
}

fn docker(directory: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(host(directory));
    command
}

/// The engines to compare: ours, and Debian's dockerd where it is installed. One at a time has the bridge, so they are started in turn by the caller.
pub(crate) fn programs(ours: &Path) -> Vec<(String, PathBuf)> {
    let mut engines = vec![("dockerd-rs".to_owned(), ours.join("dockerd-rs"))];
    engines.extend(containers::find("dockerd").map(|path| ("dockerd".to_owned(), path)));
    engines
}

/// Measures `docker run`, with and without a network, and `docker exec`. Both engines run at once, each in its own network namespace.
pub(crate) fn measure(ours: &Path, rounds: usize, report: &mut Report) -> Result<()> {
    const OPERATIONS: [&str; 4] = ["run --rm", "run --rm --network none", "run --detach", "exec"];
    let directory = tempfile::tempdir()?;
    let archive = prepare(directory.path())?;
    let mut engines = Vec::new();
    for (name, program) in programs(ours) {
        engines.push(Engine::start(
            &name,
            &isolated(&program, directory.path(), &name)?,
            directory.path(),
            &archive,
        )?);
    }
    let mut samples = Samples::default();
    for round in 0..rounds {
        for engine in &engines {
            one_round(engine, round, &mut samples)?;
        }
    }
    let names: Vec<String> = engines.iter().map(|engine| engine.name.clone()).collect();
    report.section(
        "Engine",
        &format!("The whole `docker` command, of which some 20 ms are the command's own; {rounds} rounds."),
    );
    report.table("ms", &OPERATIONS, &names, &samples);
    Ok(())
}

/// An image of busybox, as an archive.
pub(crate) fn prepare(directory: &Path) -> Result<PathBuf> {
    let (rootfs, archive) = (directory.join("rootfs"), directory.join("image.tar"));
    containers::busybox(&rootfs)?;
    containers::archive(&rootfs, "bench:latest", &archive)?;
    Ok(archive)
}

/// A script that starts `program` in a network namespace of its own: two engines would fight for one bridge name and one set of rules.
pub(crate) fn isolated(program: &Path, directory: &Path, name: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let script = directory.join(format!("start-{name}"));
    let text = format!(
        "#!/bin/sh\nexec unshare --net -- sh -c 'ip link set lo up; exec \"$0\" \"$@\"' {} \"$@\"\n",
        program.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn one_round(engine: &Engine, round: usize, samples: &mut Samples) -> Result<()> {
    let mut add = |operation: &str, took| samples.add(operation, &engine.name, took);
    add(
        "run --rm",
        time(engine.docker().args(["run", "--rm", "bench", "true"]))?,
    );
    let mut without = engine.docker();
    add(
        "run --rm --network none",
        time(without.args(["run", "--rm", "--network", "none", "bench", "true"]))?,
    );
    let name = format!("bench-{round}");
    add(
        "run --detach",
        time(
            engine
                .docker()
                .args(["run", "--detach", "--name", &name, "bench", "sleep", "1000"]),
        )?,
    );
    add("exec", time(engine.docker().args(["exec", &name, "true"]))?);
    output(engine.docker().args(["rm", "--force", &name]))?;
    Ok(())
}
