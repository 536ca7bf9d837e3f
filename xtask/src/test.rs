//! `cargo xtask test`: everything, on a machine that has only a Rust toolchain.

use std::time::Instant;

use clap::Args;

use crate::Result;
use crate::command::{self, cargo};
use crate::{build, packages};

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
    let programs = build::build()?;
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast"])
        .env("ENGINE_BIN_DIR", programs);
    if options.package.is_empty() {
        test.arg("--workspace");
    }
    for package in &options.package {
        test.args(["--package", package]);
    }
    if !options.rest.is_empty() {
        test.arg("--").args(&options.rest);
    }
    command::run(&mut test)?;
    eprintln!("xtask: tested in {} s", begin.elapsed().as_secs());
    Ok(())
}
