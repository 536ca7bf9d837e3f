//! OCI runtimes, one operation at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::containers;
use super::measure::{Samples, time};
use super::report::Report;
use crate::Result;
use crate::build::FLOOR;
use crate::command::output;

const OPERATIONS: [&str; 5] = ["run", "create", "start", "exec", "delete"];
const PEAKS: [&str; 3] = ["run", "create", "exec"];
/// Peaks hardly differ from round to round.
const PEAK_ROUNDS: usize = 10;

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
    let floor = programs.join(FLOOR);
    let (mut samples, mut peaks) = (Samples::default(), Samples::default());
    for number in 0..rounds {
        measure_floor(&floor, &bundle, &mut samples)?;
        for (name, program) in &peers {
            let state = directory.path().join(format!("state-{name}"));
            let round = Round {
                name,
                program,
                state: &state,
                bundle: &bundle,
                number,
            };
            round.run(&mut samples)?;
            if number < PEAK_ROUNDS {
                round.peaks(&floor, &mut peaks)?;
            }
        }
    }
    let names: Vec<String> = peers.iter().map(|(name, _)| name.clone()).collect();
    report.section("Runtime", &format!("The whole command of the program, on a bundle of busybox with `runc spec`'s configuration; {rounds} rounds."));
    report.table("ms", &OPERATIONS, &names, &samples);
    report.line("");
    report.table("peak resident memory, KiB", &PEAKS, &names, &peaks);
    report.line("");
    floor_line(&samples, report);
    for (name, program) in &peers {
        report.line(&format!("\n{name}: {}", version(program)));
    }
    Ok(())
}

/// What the same namespaces, mounts, root and program cost without a runtime.
fn measure_floor(floor: &Path, bundle: &Path, samples: &mut Samples) -> Result<()> {
    let mut run = Command::new(floor);
    run.arg("run").arg(bundle.join("rootfs")).arg("/bin/true");
    samples.add("run", FLOOR, time(&mut run)?);
    samples.add("spawn", FLOOR, time(Command::new(floor).arg("spawn"))?);
    Ok(())
}

fn floor_line(samples: &Samples, report: &mut Report) {
    let median = |operation, peer| samples.median(operation, peer).unwrap_or_default();
    let (whole, spawn, ours) = (median("run", FLOOR), median("spawn", FLOOR), median("run", "runc-rs"));
    report.line(&format!(
        "The floor (`xtask/floor`: the same clone3, mounts, pivot_root and exec in a static program, and nothing else) takes {whole:.2} ms as a whole \
         command, of which {spawn:.2} ms are the start and end of a program that does nothing. `run` of runc-rs takes {:.2} times as long.",
        ours / whole
    ));
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

    /// The most memory that the commands have resident, their children's included.
    fn peaks(&self, floor: &Path, samples: &mut Samples) -> Result<()> {
        let id = format!("bench-{}-{}-{}-m", std::process::id(), self.name, self.number);
        let bundle = |mut command: Command, name: &str| {
            command.arg("--bundle").arg(self.bundle.with_file_name(name)).arg(&id);
            command
        };
        let peak = |command: Command| -> Result<f64> {
            let mut measured = Command::new(floor);
            measured.arg("rss").arg(command.get_program()).args(command.get_args());
            Ok(output(&mut measured)?.trim().parse()?)
        };
        samples.add_value("run", self.name, peak(bundle(self.command("run"), "bundle"))?);
        samples.add_value("create", self.name, peak(bundle(self.command("create"), "staying"))?);
        time(self.command("start").arg(&id))?;
        let mut exec = self.command("exec");
        exec.args([&id, "/bin/true"]);
        samples.add_value("exec", self.name, peak(exec)?);
        time(self.command("delete").arg("--force").arg(&id))?;
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
