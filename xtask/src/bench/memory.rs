//! Memory: the proportional set size of the daemons and of what each container adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::engine::{self, Engine};
use super::report::Report;
use crate::Result;
use crate::command::output;

const STEPS: [usize; 3] = [1, 20, 100];

/// Measures at 1, 20 and 100 running containers. One engine at a time: the proportional size of one must not depend on the other's.
pub(crate) fn measure(ours: &Path, report: &mut Report) -> Result<()> {
    let mut rows: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    let mut names = Vec::new();
    for (name, program) in engine::programs(ours) {
        let directory = tempfile::tempdir()?;
        let archive = engine::prepare(directory.path())?;
        let script = engine::isolated(&program, directory.path(), &name)?;
        let engine = Engine::start(&name, &script, directory.path(), &archive)?;
        for (row, value) in steps(&engine)? {
            rows.entry(row).or_default().push(Some(value));
        }
        names.push(name);
    }
    report.section("Memory", "Proportional set size (PSS): the daemons together, and shims per container, without the containers' own processes.");
    report.values("MiB", &names, &rows.into_iter().collect::<Vec<_>>());
    Ok(())
}

fn steps(engine: &Engine) -> Result<Vec<(String, f64)>> {
    let mut values = Vec::new();
    let mut running = 0;
    for step in STEPS {
        while running < step {
            output(engine.docker().args(["run", "--detach", "bench", "sleep", "10000"]))?;
            running += 1;
        }
        let (daemons, shims) = sizes(engine)?;
        values.push((format!("daemons, {step:3} containers"), daemons));
        #[allow(clippy::cast_precision_loss)] // at most 100
        values.push((format!("per container, {step:3} containers"), shims / step as f64));
    }
    Ok(values)
}

/// PSS in MiB of the daemons (the engine and its managers), and of all shims and proxies.
fn sizes(engine: &Engine) -> Result<(f64, f64)> {
    let mark = engine.directory.to_string_lossy().into_owned();
    let daemons = descendants(engine.pid());
    let (mut in_daemons, mut in_shims) = (0.0, 0.0);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = line.split(' ').next().unwrap_or_default();
        let size = || pss(pid).unwrap_or(0.0);
        if program.contains("shim") && line.contains(&mark)
            || program.ends_with("docker-proxy") && daemons.contains(&pid)
        {
            in_shims += size();
        } else if daemons.contains(&pid) {
            in_daemons += size();
        }
    }
    Ok((in_daemons, in_shims))
}

/// The process and everything below it.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([of]);
    let mut open = vec![of];
    while let Some(pid) = open.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            open.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .filter(|pid| found.insert(*pid)),
            );
        }
    }
    found
}

fn pss(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .split_whitespace()
        .next()?
        .parse::<f64>()
        .ok()?;
    Some(kib / 1024.0)
}
