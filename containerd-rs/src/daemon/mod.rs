//! The daemon: arguments, configuration file, logs, signals.

mod args;
mod file;
mod metrics;
mod notify;
mod publish;
mod settings;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser as _;
use containerd_rs::Engine;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use args::{Args, Command, ConfigCommand};
use settings::{LogFormat, Settings};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs what the command line says.
pub(crate) fn main() -> Result<()> {
    let args = Args::parse();
    if args.version {
        println!(
            "containerd-rs github.com/containerd/containerd {}",
            containerd_rs::VERSION
        );
        return Ok(());
    }
    match &args.command {
        Some(Command::Config {
            command: ConfigCommand::Default,
        }) => {
            print!("{}", file::dump(&Settings::default()));
            Ok(())
        }
        Some(Command::Config {
            command: ConfigCommand::Dump,
        }) => {
            let (settings, warnings) = load(&args)?;
            for warning in warnings {
                eprintln!("containerd-rs: {warning}");
            }
            print!("{}", file::dump(&settings));
            Ok(())
        }
        Some(Command::Publish(event)) => {
            let (settings, _) = load(&args)?;
            runtime(1)?.block_on(publish::publish(&settings.address, event))
        }
        None => {
            let (settings, warnings) = load(&args)?;
            log(&settings)?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
            runtime(workers)?.block_on(serve(settings))
        }
    }
}

fn runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(workers).enable_all().build()?)
}

/// The configuration: defaults, then the file, then the command line.
fn load(args: &Args) -> Result<(Settings, Vec<String>)> {
    let mut settings = Settings::default();
    let mut warnings = Vec::new();
    let (path, asked) = match &args.config {
        Some(path) => (path.clone(), true),
        None => (PathBuf::from(file::DEFAULT_PATH), false),
    };
    if asked || path.exists() {
        warnings = file::load(&path, &mut settings)?;
    }
    args.apply(&mut settings);
    Ok((settings, warnings))
}

fn log(settings: &Settings) -> Result<()> {
    let filter =
        EnvFilter::try_new(settings.level_filter()).map_err(|e| format!("log level {:?}: {e}", settings.log_level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn serve(settings: Settings) -> Result<()> {
    // First, so that a signal that comes during the start ends us cleanly too.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut pipe = signal(SignalKind::pipe())?;
    let mut hup = signal(SignalKind::hangup())?;
    tracing::info!(version = containerd_rs::VERSION, root = %settings.root.display(), "starting containerd-rs");
    let engine = Engine::start(settings.config()).await?;
    engine.serve().await?;
    let metrics = match &settings.metrics_address {
        Some(address) => Some(metrics::serve(address, engine.clone()).await?),
        None => None,
    };
    notify::ready();
    tracing::info!("containerd-rs is ready");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            // Neither a reader of our log that goes away nor a terminal that does is a reason to stop.
            _ = pipe.recv() => {}
            _ = hup.recv() => {}
        }
    }
    notify::stopping();
    tracing::info!("stopping; containers go on");
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    engine.shutdown().await;
    Ok(())
}
