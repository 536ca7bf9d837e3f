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
const USED_BY: [&str; 5] = ["run", "create", "start", "exec", "delete --force"];
/// What is used differs less from round to round than what is waited.
const USAGE_ROUNDS: usize = 30;

/// Measures runc-rs, runc and crun on one bundle.
pub(crate) fn measure(programs: &Path, rounds: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    // On a tmpfs, as `/run` is for all of them.
    let states = tempfile::tempdir_in("/dev/shm")?;
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
    let mut samples = Samples::default();
    let mut usage = Usage {
        meter: &floor,
        peaks: Samples::default(),
        times: Samples::default(),
    };
    for number in 0..rounds {
        measure_floor(&floor, &bundle, &mut samples, &mut usage)?;
        for (name, program) in &peers {
            let state = states.path().join(format!("state-{name}"));
            let round = Round {
                name,
                program,
                state: &state,
                bundle: &bundle,
                number,
            };
            round.run(&mut samples)?;
            if number < USAGE_ROUNDS {
                round.usage(&mut usage)?;
            }
        }
    }
    let names: Vec<String> = peers.iter().map(|(name, _)| name.clone()).collect();
    report.section("Runtime", &format!("The whole command of the program, on a bundle of busybox with `runc spec`'s configuration, the state on a tmpfs; {rounds} rounds."));
    report.table("ms", &OPERATIONS, &names, &samples);
    report.line("");
    report.table("processor time, ms", &USED_BY, &names, &usage.times);
    report.line("");
    report.table("peak resident memory, KiB", &USED_BY, &names, &usage.peaks);
    report.line("");
    floor_line("takes", &samples, report);
    floor_line("uses, of the processors,", &usage.times, report);
    for (name, program) in &peers {
        report.line(&format!("\n{name}: {}", version(program)));
    }
    Ok(())
}

/// What processes use, by operation and peer.
struct Usage<'a> {
    meter: &'a Path,
    /// KiB.
    peaks: Samples,
    /// Milliseconds.
    times: Samples,
}

impl Usage<'_> {
    fn of(&mut self, operation: &str, peer: &str, command: &Command) -> Result<()> {
        let mut measured = Command::new(self.meter);
        measured
            .arg("usage")
            .arg(command.get_program())
            .args(command.get_args());
        let text = output(&mut measured)?;
        let (peak, micros) = text.trim().split_once(' ').ok_or("the meter prints two numbers")?;
        self.peaks.add_value(operation, peer, peak.parse()?);
        self.times.add_value(operation, peer, micros.parse::<f64>()? / 1e3);
        Ok(())
    }
}

/// What the same namespaces, mounts, root and program cost without a runtime.
fn measure_floor(floor: &Path, bundle: &Path, samples: &mut Samples, usage: &mut Usage<'_>) -> Result<()> {
    let (mut run, mut spawn) = (Command::new(floor), Command::new(floor));
    run.arg("run").arg(bundle.join("rootfs")).arg("/bin/true");
    spawn.arg("spawn");
    usage.of("run", FLOOR, &run)?;
    usage.of("spawn", FLOOR, &spawn)?;
    samples.add("run", FLOOR, time(&mut run)?);
    samples.add("spawn", FLOOR, time(&mut spawn)?);
    Ok(())
}

fn floor_line(verb: &str, samples: &Samples, report: &mut Report) {
    let median = |operation, peer| samples.median(operation, peer).unwrap_or_default();
    let (whole, spawn, ours) = (median("run", FLOOR), median("spawn", FLOOR), median("run", "runc-rs"));
    report.line(&format!(
        "The floor (`xtask/floor`: the same clone3, mounts, pivot_root and exec in a static program, and nothing else) {verb} {whole:.2} ms as a whole \
         command, of which {spawn:.2} ms are the start and end of a program that does nothing; `run` of runc-rs {:.2} times as much.\n",
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

    /// What the commands use, their children included.
    fn usage(&self, usage: &mut Usage<'_>) -> Result<()> {
        let id = format!("bench-{}-{}-{}-u", std::process::id(), self.name, self.number);
        let bundle = |mut command: Command, name: &str| {
            command.arg("--bundle").arg(self.bundle.with_file_name(name)).arg(&id);
            command
        };
        usage.of("run", self.name, &bundle(self.command("run"), "bundle"))?;
        usage.of("create", self.name, &bundle(self.command("create"), "staying"))?;
        let mut start = self.command("start");
        usage.of("start", self.name, start.arg(&id))?;
        let mut exec = self.command("exec");
        usage.of("exec", self.name, exec.args([&id, "/bin/true"]))?;
        let mut delete = self.command("delete");
        usage.of("delete --force", self.name, delete.arg("--force").arg(&id))
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
