//! `runc-rs`: runc's command line over the library.

mod args;
mod checkpoint;
mod commands;
mod events;
mod foreground;
mod log;
mod process;
mod signals;
mod update;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
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
    if let Err(error) = seal() {
        // The log's place is not known yet.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("unable to seal the runtime's own binary: {error}\n").as_bytes(),
        );
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The terminal may be gone; the code tells all the same.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1).min(1));
        }
    };
    let log = Log::new(&cli.global);
    match commands::dispatch(cli, &log) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log.fatal(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Goes on from a read-only copy of the program for every command that enters a container. Looks for the command's name anywhere
/// among the arguments, before they are parsed, which would be done twice else; once too often does no harm.
fn seal() -> std::io::Result<()> {
    let enters = |argument: std::ffi::OsString| argument == "create" || argument == "run" || argument == "exec";
    if std::env::args_os().skip(1).any(enters) {
        runc_rs::sealed::ensure()
    } else {
        Ok(())
    }
}
