//! `runc-rs`: runc's command line over the library.

mod args;
mod commands;
mod events;
mod foreground;
mod log;
mod process;
mod signals;
mod update;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use log::Log;

/// A failed command: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// With exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The terminal may be gone; the code tells all the same.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1).min(1));
        }
    };
    let log = Log::new(&cli.global);
    match run(cli, &log) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log.fatal(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Runs the command; returns the exit code.
fn run(cli: Cli, log: &Log) -> Result<u8, Failure> {
    let enters_a_container = matches!(cli.command, Command::Create(_) | Command::Run(_) | Command::Exec(_));
    if enters_a_container {
        runc_rs::sealed::ensure()
            .map_err(|error| Failure::new(format!("unable to seal the runtime's own binary: {error}")))?;
    }
    commands::dispatch(cli, log)
}
