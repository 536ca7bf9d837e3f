//! The command line: containerd's.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::settings::Settings;

/// High performance container lifecycle manager, with containerd's API.
#[derive(Debug, Parser)]
#[command(name = "containerd-rs", disable_version_flag = true)]
pub(super) struct Args {
    /// Path to the configuration file [default: /etc/containerd-rs/config.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set the logging level [trace, debug, info, warn, error, fatal, panic]
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Address for containerd's GRPC server
    #[arg(short, long, value_name = "PATH")]
    address: Option<PathBuf>,
    /// containerd root directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// containerd state directory
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print the version
    #[arg(short, long)]
    pub(super) version: bool,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Information on the containerd config
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Binary to publish events to containerd
    Publish(PublishArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// See the output of the default config
    Default,
    /// See the output of the final main config
    Dump,
}

#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    /// Namespace to publish to
    #[arg(long)]
    pub(super) namespace: String,
    /// Topic of the event
    #[arg(long)]
    pub(super) topic: String,
}

impl Args {
    /// Puts what was given over what the file said.
    pub(super) fn apply(&self, settings: &mut Settings) {
        let set = |from: &Option<PathBuf>, to: &mut PathBuf| {
            if let Some(value) = from {
                to.clone_from(value);
            }
        };
        set(&self.root, &mut settings.root);
        set(&self.state, &mut settings.state);
        set(&self.address, &mut settings.address);
        if let Some(level) = &self.log_level {
            settings.log_level.clone_from(level);
        }
    }
}
