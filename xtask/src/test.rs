//! `cargo xtask test`: everything, on a machine that has only a Rust toolchain.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;

use crate::Result;
use crate::command::{self, cargo};
use crate::{build, kernel, packages};

/// What to test.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Only the tests of these packages.
    #[arg(short, long)]
    package: Vec<String>,
    /// Passed on to the test programs: a filter, or `--nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Installs, builds, and runs.
///
/// # Errors
/// The first step that fails, but all test programs are run before their failures are told.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    packages::install_missing()?;
    kernel::unpack()?;
    // Every crate of the lock file: the layer test asks for all of them, offline.
    command::run(cargo().args(["fetch", "--locked"]))?;
    let programs = build::build()?;
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast"])
        .env("ENGINE_BIN_DIR", &programs);
    if options.package.is_empty() {
        test.arg("--workspace");
    }
    for package in &options.package {
        test.args(["--package", package]);
    }
    if !options.rest.is_empty() {
        test.arg("--").args(&options.rest);
    }
    let failed = failed_targets(&mut test)?;
    repeat(&failed, &programs, &options.rest)?;
    eprintln!("xtask: tested in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Runs the tests; what failed is a list of cargo's own words for a target, such as `-p engine-tests --test ctr`.
fn failed_targets(test: &mut Command) -> Result<Vec<String>> {
    eprintln!("xtask: {test:?}");
    let mut child = test.stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().ok_or("no pipe")?;
    let mut targets = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        eprintln!("{line}");
        let target = line.trim().strip_prefix('`').and_then(|line| line.strip_suffix('`'));
        targets.extend(target.filter(|target| target.starts_with("-p ")).map(str::to_owned));
    }
    let status = child.wait()?;
    if status.success() || !targets.is_empty() {
        Ok(targets)
    } else {
        Err(format!("cargo test: {status}").into())
    }
}

/// Real programs on a busy machine run out of patience now and then: a test program that failed is run once more, alone and one test at a time, and
/// that is said. What fails twice has failed.
fn repeat(targets: &[String], programs: &Path, rest: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for target in targets {
        eprintln!("xtask: REPEATED, because it failed the first time: {target}");
        let mut test = cargo();
        test.args(["test", "--locked"])
            .args(target.split(' '))
            .env("ENGINE_BIN_DIR", programs);
        test.args(["--", "--test-threads=1"]).args(rest);
        if command::run(&mut test).is_err() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed twice: {}", failed.join(", ")).into())
    }
}
