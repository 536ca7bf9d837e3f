//! `runc-rs`: runc's command line over the library.
//!
//! `grammar` says what a command line may be, `parse` reads one, `commands` has a file for each command with its row of the grammar
//! and its code. What a command prints goes by `output`, what it says of itself by `log`.

mod commands;
mod failure;
mod foreground;
mod grammar;
mod help;
mod invocation;
mod log;
mod notify;
mod output;
mod parse;
mod signals;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use commands::COMMANDS;
use failure::Failure;
use invocation::Invocation;
use log::Log;
use parse::{Misuse, Request};

/// In runc's layout: callers look for the lines `NAME version` and `spec:`. The last is [`runtime_spec::OCI_VERSION_MAX`], which a test
/// compares.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("runc-rs"));
    let request = match parse::parse(&program, arguments, COMMANDS) {
        Ok(request) => request,
        Err(misuse) => return refuse(&misuse),
    };
    let (command, global, values, arguments) = match request {
        Request::Help(command) => return print(&help::text(command, COMMANDS)),
        Request::Version => return print(&format!("runc-rs version {VERSION}\n")),
        Request::Run {
            command,
            global,
            values,
            arguments,
        } => (command, global, values, arguments),
    };
    if command.enters
        && let Err(error) = runc_rs::sealed::ensure()
    {
        Log::plain().fatal(&format!("unable to seal the runtime's own binary: {error}"));
        return ExitCode::FAILURE;
    }
    runc_rs::stop_ignoring_children();
    let log = match Log::new(&global) {
        Ok(log) => log,
        Err(failure) => {
            Log::plain().fatal(&failure.message);
            return ExitCode::from(failure.code);
        }
    };
    let invocation = Invocation {
        global,
        values,
        arguments,
        log,
    };
    invocation
        .log
        .debug(|| format!("{} by runc-rs {}", command.name, env!("CARGO_PKG_VERSION")));
    match invocation.prepare().and_then(|()| (command.run)(&invocation)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            invocation.log.fatal(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// The words, the help and the code for a command line that makes no sense.
fn refuse(misuse: &Misuse) -> ExitCode {
    if !misuse.headline.is_empty() {
        let help = help::text(misuse.command, COMMANDS);
        // The code tells all the same.
        let _ = output::print(&format!("{}\n\n{help}", misuse.headline));
    }
    let log = Log::new(&misuse.global).unwrap_or_else(|_| Log::plain());
    log.fatal(&misuse.message);
    ExitCode::from(misuse.code)
}

fn print(text: &str) -> ExitCode {
    match output::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_names_the_specification_that_is_understood() {
        assert!(super::VERSION.ends_with(&format!("\nspec: {}", runtime_spec::OCI_VERSION_MAX)));
    }
}
