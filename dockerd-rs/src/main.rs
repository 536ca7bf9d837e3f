//! `dockerd-rs`: the daemon.

use std::io::Write;
use std::process::ExitCode;

use dockerd_rs::config::{Config, Failure};
use dockerd_rs::daemon;

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(Failure::Usage(error)) => error.exit(),
        Err(Failure::Config(error)) => return fail(&error),
    };
    if config.flags.version {
        let _ = writeln!(
            std::io::stdout(),
            "Docker version {}, build dockerd-rs",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::SUCCESS;
    }
    if config.flags.validate {
        let _ = writeln!(std::io::stdout(), "configuration OK");
        return ExitCode::SUCCESS;
    }
    daemon::log_to_stderr(&config.flags);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(daemon::run(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "failed to start daemon: {error}");
    ExitCode::FAILURE
}
