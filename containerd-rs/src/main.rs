//! The `containerd-rs` program: containerd's command line around the engine.

mod daemon;

use std::process::ExitCode;

fn main() -> ExitCode {
    match daemon::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-rs: {error}");
            ExitCode::FAILURE
        }
    }
}
