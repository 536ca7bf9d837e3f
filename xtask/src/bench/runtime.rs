//! OCI runtimes, one operation at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::containers;
use super::measure::{Samples, time};
use super::report::Report;
use crate::Result;
use crate::command::output;

const OPERATIONS: [&str; 5] = ["run", "create", "start", "exec", "delete"];

/// Measures runc-rs, runc and crun on one bundle.
pub(crate) fn measure(programs: &Path, rounds: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let bundle = bundle(directory.path())?;
    let ours = programs.join("runc-rs");
    let peers: Vec<(String, PathBuf)> = std::iter::once(("runc-rs".to_owned(), ours))
        .chain(
            ["runc", "crun"]
                .map(|name| (name.to_owned(), containers::find(name)))
                .into_iter()
                .filter_map(|(n, p)| Some((n, p?))),
        )
        .collect();
    let mut samples = Samples::default();
    for round in 0..rounds {
        for (name, program) in &peers {
            let state = directory.path().join(format!("state-{name}"));
            Round {
                name,
                program,
                state: &state,
                bundle: &bundle,
                number: round,
            }
            .run(&mut samples)?;
        }
    }
    let names: Vec<String> = peers.iter().map(|(name, _)| name.clone()).collect();
    report.section("Runtime", &format!("The whole command of the program, on a bundle of busybox with `runc spec`'s configuration; {rounds} rounds."));
    report.table("ms", &OPERATIONS, &names, &samples);
    for (name, program) in &peers {
        report.line(&format!("\n{name}: {}", version(program)));
    }
    Ok(())
}

fn version(program: &Path) -> String {
    let text = output(Command::new(program).arg("--version")).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Two bundles that share a root: one whose process ends at once, one whose process stays.
fn bundle(directory: &Path) -> Result<PathBuf> {
    let bundle = directory.join("bundle");
    containers::busybox(&bundle.join("rootfs"))?;
    output(Command::new("runc").arg("spec").current_dir(&bundle))?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/true"]);
    fs::write(&path, config.to_string())?;
    config["process"]["args"] = serde_json::json!(["/bin/sleep", "1000"]);
    let staying = directory.join("staying");
    fs::create_dir(&staying)?;
    config["root"]["path"] = bundle.join("rootfs").display().to_string().into();
    fs::write(staying.join("config.json"), config.to_string())?;
    Ok(bundle)
}

struct Round<'a> {
    name: &'a str,
    program: &'a Path,
    state: &'a Path,
    bundle: &'a Path,
    number: usize,
}

impl Round<'_> {
    fn run(&self, samples: &mut Samples) -> Result<()> {
        let id = format!("bench-{}-{}-{}", std::process::id(), self.name, self.number);
        samples.add(
            "run",
            self.name,
            time(
                self.command("run")
                    .arg("--bundle")
                    .arg(self.bundle)
                    .arg(format!("{id}-r")),
            )?,
        );
        let staying = self.bundle.with_file_name("staying");
        let pid_file = self.state.with_extension("pid");
        let mut create = self.command("create");
        create
            .arg("--bundle")
            .arg(staying)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(&id);
        samples.add("create", self.name, time(&mut create)?);
        samples.add("start", self.name, time(self.command("start").arg(&id))?);
        samples.add("exec", self.name, time(self.command("exec").args([&id, "/bin/true"]))?);
        time(self.command("kill").args([&id, "KILL"]))?;
        wait_for_end(fs::read_to_string(&pid_file)?.trim())?;
        samples.add("delete", self.name, time(self.command("delete").arg(&id))?);
        Ok(())
    }

    fn command(&self, operation: &str) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(self.state).arg(operation);
        command
    }
}

/// Until the process is gone or a zombie: who reaps it is not what is measured.
fn wait_for_end(pid: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return Ok(()),
            Ok(stat) if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) => return Ok(()),
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(format!("process {pid} does not end").into())
}
