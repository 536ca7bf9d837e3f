//! The command line: names and defaults are those of the `docker` command.

// The brackets in these texts are those of the `docker` commands' usage, not links.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A small client of Docker's REST API.
#[derive(Debug, Parser)]
#[command(name = "docker-rs", version)]
pub(crate) struct Arguments {
    /// Daemon socket to connect to: unix://PATH or tcp://HOST:PORT.
    #[arg(
        short = 'H',
        long,
        env = "DOCKER_HOST",
        default_value = "unix:///var/run/docker.sock",
        global = true
    )]
    pub(crate) host: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create and run a new container from an image.
    Run(Box<RunOptions>),
    /// Execute a command in a running container.
    Exec(ExecOptions),
    /// List containers.
    Ps(PsOptions),
    /// Fetch the logs of a container.
    Logs(LogsOptions),
    /// Stop one or more running containers.
    Stop(StopOptions),
    /// Remove one or more containers.
    Rm(RmOptions),
    /// List images.
    Images(ImagesOptions),
    /// Download an image from a registry.
    Pull {
        /// NAME[:TAG|@DIGEST]
        image: String,
        /// Suppress verbose output.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Load an image from a tar archive or standard input.
    Load {
        /// Read from a tar archive file instead of standard input.
        #[arg(short, long)]
        input: Option<PathBuf>,
    },
    /// Remove one or more images.
    Rmi(RmiOptions),
    /// Display system-wide information.
    Info,
    /// Show the client's and the engine's versions.
    Version,
}

/// What `run` and `exec` have in common.
#[derive(Debug, Args)]
pub(crate) struct ProcessOptions {
    /// Run in the background.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep standard input open even if not attached.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a pseudo-TTY.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set environment variables: NAME=VALUE, or NAME to pass the client's own.
    #[arg(short, long = "env")]
    pub(crate) env: Vec<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>]).
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory inside the container.
    #[arg(short, long)]
    pub(crate) workdir: Option<String>,
    /// Give extended privileges.
    #[arg(long)]
    pub(crate) privileged: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) process: ProcessOptions,
    /// Assign a name to the container.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the container and its anonymous volumes when it exits.
    #[arg(long)]
    pub(crate) rm: bool,
    /// Bind mount a volume.
    #[arg(short, long = "volume")]
    pub(crate) volume: Vec<String>,
    /// Mount a tmpfs directory: PATH[:OPTIONS].
    #[arg(long)]
    pub(crate) tmpfs: Vec<String>,
    /// Publish a container's port: [[IP:]HOST_PORT:]PORT[/PROTOCOL].
    #[arg(short, long)]
    pub(crate) publish: Vec<String>,
    /// Connect to a network.
    #[arg(long)]
    pub(crate) network: Option<String>,
    /// Container host name.
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Memory limit, in bytes or with a suffix b, k, m, g.
    #[arg(short, long)]
    pub(crate) memory: Option<String>,
    /// Number of CPUs.
    #[arg(long)]
    pub(crate) cpus: Option<f64>,
    /// Tune the limit of processes (-1 for unlimited).
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Mount the container's root filesystem as read only.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Add a Linux capability.
    #[arg(long)]
    pub(crate) cap_add: Vec<String>,
    /// Drop a Linux capability.
    #[arg(long)]
    pub(crate) cap_drop: Vec<String>,
    /// Set metadata on the container: NAME=VALUE.
    #[arg(short, long)]
    pub(crate) label: Vec<String>,
    /// Restart policy: no, on-failure[:MAX], always, unless-stopped.
    #[arg(long)]
    pub(crate) restart: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image.
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Runtime to use for this container.
    #[arg(long)]
    pub(crate) runtime: Option<String>,
    /// The image.
    pub(crate) image: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExecOptions {
    #[command(flatten)]
    pub(crate) process: ProcessOptions,
    /// The container.
    pub(crate) container: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsOptions {
    /// Show all containers (default shows just running).
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only display container IDs.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Don't truncate output.
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Filter output: KEY=VALUE.
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// Follow log output.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show timestamps.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Number of lines to show from the end of the logs.
    #[arg(short = 'n', long, default_value = "all")]
    pub(crate) tail: String,
    /// The container.
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopOptions {
    /// Signal to send to the container.
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container.
    #[arg(short = 't', long, allow_negative_numbers = true)]
    pub(crate) time: Option<i32>,
    /// The containers.
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmOptions {
    /// Force the removal of a running container (uses SIGKILL).
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes associated with the container.
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// The containers.
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImagesOptions {
    /// Only show image IDs.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Don't truncate output.
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmiOptions {
    /// Force removal of the image.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}
