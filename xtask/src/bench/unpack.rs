//! Managers under `ctr`: importing and unpacking an image of 100 MB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::containers;
use super::daemon::Daemon;
use super::measure::{Samples, time};
use super::report::Report;
use crate::Result;
use crate::command::output;

/// Bytes of the image's files.
const SIZE: usize = 100_000_000;
/// Bytes of one file: an image is many middling files.
const FILE: usize = 50_000;

/// Measures `ctr images import`, which writes the layer and unpacks it.
pub(crate) fn measure(ours: &Path, rounds: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let archive = image(directory.path())?;
    let mut programs = vec![("containerd-rs".to_owned(), ours.join("containerd-rs"))];
    programs.extend(containers::find("containerd").map(|path| ("containerd".to_owned(), path)));
    let mut managers = Vec::new();
    for (name, program) in &programs {
        managers.push(Manager::start(name, program, directory.path())?);
    }
    let mut samples = Samples::default();
    for _ in 0..rounds {
        for manager in &managers {
            samples.add(
                "import and unpack",
                &manager.name,
                time(manager.ctr().args(["images", "import"]).arg(&archive))?,
            );
            output(
                manager
                    .ctr()
                    .args(["images", "rm", "--sync", "docker.io/library/large:latest"]),
            )?;
        }
    }
    let names: Vec<String> = managers.iter().map(|manager| manager.name.clone()).collect();
    report.section(
        "Unpack",
        &format!(
            "`ctr images import` of a layer of 100 MB in {} files; {rounds} rounds.",
            SIZE / FILE
        ),
    );
    report.table("ms", &["import and unpack"], &names, &samples);
    Ok(())
}

/// Files whose content neither compresses to nothing nor repeats.
fn image(directory: &Path) -> Result<PathBuf> {
    let (rootfs, archive) = (directory.join("large"), directory.join("large.tar"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..SIZE / FILE {
        let below = rootfs.join(format!("usr/lib/{}", number % 50));
        fs::create_dir_all(&below)?;
        let mut content = Vec::with_capacity(FILE);
        while content.len() < FILE {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            content.extend_from_slice(&(state >> 20).to_le_bytes());
        }
        fs::write(below.join(number.to_string()), content)?;
    }
    containers::archive(&rootfs, "large:latest", &archive)?;
    fs::remove_dir_all(rootfs)?;
    Ok(archive)
}

struct Manager {
    name: String,
    directory: PathBuf,
    _daemon: Daemon,
}

impl Manager {
    fn start(name: &str, program: &Path, base: &Path) -> Result<Self> {
        let directory = base.join(name);
        fs::create_dir_all(&directory)?;
        let config = directory.join("config.toml");
        fs::write(
            &config,
            format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
                directory.join("root"),
                directory.join("state"),
                directory.join("socket")
            ),
        )?;
        let mut command = Command::new(program);
        command.arg("--config").arg(config);
        let version = || {
            let mut ctr = ctr(&directory);
            ctr.arg("version");
            ctr
        };
        let daemon = Daemon::start(command, &directory.join("log"), version)?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            _daemon: daemon,
        })
    }

    fn ctr(&self) -> Command {
        ctr(&self.directory)
    }
}

/// `ctr`, talking to the manager with this directory.
fn ctr(directory: &Path) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(directory.join("socket"));
    command
}
