//! The project's own commands: `cargo xtask build | quickstart | test | bench | ci`.
//!
//! Whatever a person or a CI machine must do with this repository is one of these, so that both do the same.

mod bench;
mod build;
mod ci;
mod command;
mod hello;
mod kernel;
mod packages;
mod quickstart;
mod test;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the commands fail with: a text that says on what.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Builds, runs, tests and measures the engine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the five programs into target/release: the daemons, and the static runtime and shim.
    Build,
    /// Builds, starts the engine in a private directory, runs a container, and says how to go on.
    Quickstart(quickstart::Options),
    /// Installs what the tests need from the distribution, builds, and runs every test.
    Test(test::Options),
    /// Measures against the real peers in one run and writes BENCHMARKS.md.
    Bench(bench::Options),
    /// What the gate runs: formatting, lints, licences, documentation, tests.
    Ci,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build => build::build().map(drop),
        Command::Quickstart(options) => quickstart::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
