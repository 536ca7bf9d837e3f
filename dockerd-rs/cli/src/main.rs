//! `docker-rs`: a small client of Docker's REST API, of any engine that serves it.
//!
//! It has the commands that a person needs to see an engine work, with the option names, outputs and exit codes of the `docker` command; for
//! everything else there is that command, which talks to the same socket.
//!
//! - `arguments`: the command line
//! - `run`, `exec`: processes, their streams and exit codes; `streams` and `terminal` serve both
//! - `containers`, `images`, `system`: one request each
//! - `progress`: how a pull is drawn

mod arguments;
mod containers;
mod error;
mod exec;
mod images;
mod process;
mod progress;
mod run;
mod streams;
mod system;
mod table;
mod terminal;

use bollard::Docker;
use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::error::Error;

fn main() {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        // Nothing is left to tell it on when standard error is closed.
        drop(error.print());
        // Help and version are no errors.
        std::process::exit(if error.exit_code() == 0 {
            0
        } else {
            error::ENGINE_FAILED
        })
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match &runtime {
        Ok(runtime) => runtime.block_on(dispatch(arguments)),
        Err(error) => Err(Error::EventLoop(error.to_string())),
    };
    let code = code.unwrap_or_else(|error| {
        eprintln!("docker-rs: {error}");
        error.exit_code()
    });
    // Not a return, which would drop the event loop and wait for the thread that reads standard input: until somebody pressed Enter.
    std::process::exit(code);
}

/// Carries one command out; the result is the exit code.
async fn dispatch(arguments: Arguments) -> Result<i32, Error> {
    let docker = connect(&arguments.host).await?;
    match arguments.command {
        Command::Run(options) => return run::run(&docker, *options).await,
        Command::Exec(options) => return exec::run(&docker, options).await,
        Command::Ps(options) => containers::list(&docker, &options).await?,
        Command::Logs(options) => containers::logs(&docker, &options).await?,
        Command::Stop(options) => return containers::stop(&docker, &options).await,
        Command::Rm(options) => return containers::remove(&docker, &options).await,
        Command::Images(options) => images::list(&docker, &options).await?,
        Command::Pull { image, quiet } => images::pull(&docker, &image, quiet).await?,
        Command::Load { input } => images::load(&docker, input.as_deref()).await?,
        Command::Rmi(options) => return images::remove(&docker, &options).await,
        Command::Info => system::info(&docker).await?,
        Command::Version => system::version(&docker).await?,
    }
    Ok(0)
}

/// Connects to `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`, and agrees on an API version.
async fn connect(host: &str) -> Result<Docker, Error> {
    const TIMEOUT_SECONDS: u64 = 24 * 3600;
    let version = bollard::API_DEFAULT_VERSION;
    let docker = match host.split_once("://") {
        Some(("unix", path)) => Docker::connect_with_unix(path, TIMEOUT_SECONDS, version),
        Some(("tcp" | "http", _)) => Docker::connect_with_http(host, TIMEOUT_SECONDS, version),
        _ => return Err(Error::Host(host.to_owned())),
    };
    let unreachable = |error| Error::Unreachable(host.to_owned(), error);
    docker
        .map_err(unreachable)?
        .negotiate_version()
        .await
        .map_err(unreachable)
}
