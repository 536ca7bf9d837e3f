//! `cargo xtask bench`: our release programs against the real peers, interleaved, in one run.
//!
//! Each number is the median of many rounds; in a round every peer takes its turn, so that a noisy machine is noisy for all of them. What counts is
//! the ratio. Peers that are not installed are left out, and the report says so.

mod containers;
mod daemon;
mod engine;
mod measure;
mod memory;
mod report;
mod runtime;
mod unpack;

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::Result;
use crate::build;
use crate::command::{root, run as run_command};

/// What to measure, and how often.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds of the runtime's operations.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Rounds of `docker run` and of unpacking.
    #[arg(long, default_value_t = 20)]
    engine_rounds: usize,
    /// Only these parts: runtime, engine, memory, unpack.
    #[arg(long)]
    only: Vec<String>,
    /// The same, as words.
    #[arg(value_name = "PART", conflicts_with = "only")]
    parts: Vec<String>,
    /// Where the report goes; `-` for standard output.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Use the programs of the last build.
    #[arg(long)]
    no_build: bool,
    /// Already in the private mount namespace.
    #[arg(long, hide = true)]
    inner: bool,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        let mut asked = self.only.iter().chain(&self.parts).peekable();
        asked.peek().is_none() || asked.any(|asked| asked == part)
    }
}

/// Builds, measures, and writes the report.
///
/// # Errors
/// A peer that fails at what it is measured at; the text holds its own.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.inner {
        if !options.no_build {
            build::build()?;
            if options.wants("runtime") {
                build::build_floor()?;
            }
        }
        return enter(options);
    }
    let programs = build::target_directory().join("release");
    let mut report = report::Report::new();
    if options.wants("runtime") {
        runtime::measure(&programs, options.rounds, &mut report)?;
    }
    if options.wants("unpack") {
        unpack::measure(&programs, options.engine_rounds.div_ceil(4), &mut report)?;
    }
    if options.wants("engine") {
        engine::measure(&programs, options.engine_rounds, &mut report)?;
    }
    if options.wants("memory") {
        memory::measure(&programs, &mut report)?;
    }
    report.write(options.output.as_deref().unwrap_or(&root().join("BENCHMARKS.md")))
}

/// Runs this program once more in a mount namespace without the cgroup v2 half of a hybrid host, which some of the peers refuse, and in a network
/// namespace of its own, so that no engine meets the host's bridges and rules.
fn enter(options: &Options) -> Result<()> {
    let script = "mount --make-rprivate / && { umount /sys/fs/cgroup/unified 2>/dev/null || :; } && ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe()?);
    command.args(["bench", "--inner", "--rounds", &options.rounds.to_string()]);
    command.args(["--engine-rounds", &options.engine_rounds.to_string()]);
    options.only.iter().chain(&options.parts).for_each(|only| {
        command.args(["--only", only]);
    });
    if let Some(output) = &options.output {
        command.arg("--output").arg(output);
    }
    run_command(&mut command)
}
