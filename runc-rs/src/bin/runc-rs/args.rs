//! The command line: runc's commands and flags.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::checkpoint::{CheckpointArgs, RestoreArgs};

/// In runc's layout: callers look for the lines `NAME version` and `spec:`. The last is [`runtime_spec::OCI_VERSION_MAX`], which a test
/// compares.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// An OCI runtime with runc's command line.
#[derive(Debug, Parser)]
#[command(name = "runc-rs", version = VERSION, disable_version_flag = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print the version.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub(crate) version: Option<bool>,
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Enable debug logging.
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Set the log file to write runc logs to (default is '/dev/stderr').
    #[arg(long, global = true)]
    pub(crate) log: Option<PathBuf>,
    /// Set the log format ('text' (default), or 'json').
    #[arg(long, global = true, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Root directory for storage of container state (this should be located in tmpfs).
    #[arg(long, global = true)]
    pub(crate) root: Option<PathBuf>,
    /// Enable systemd cgroup support (not supported yet: an error).
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// Ignore cgroup permission errors ('true', 'false', or 'auto').
    #[arg(long, global = true, default_value = "auto", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) rootless: String,
    /// Ignored, for callers that give it.
    #[arg(long, global = true, hide = true)]
    pub(crate) criu: Option<String>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// logrus's text.
    Text,
    /// One JSON object a line.
    Json,
}

/// runc's commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a container.
    Create(CreateArgs),
    /// Execute the user defined process in a created container.
    Start(Id),
    /// Create and run a container.
    Run(RunArgs),
    /// Execute a new process inside the container.
    Exec(ExecArgs),
    /// Output the state of a container.
    State(Id),
    /// Send the specified signal (default: SIGTERM) to the container's init process.
    Kill(KillArgs),
    /// Delete any resources held by the container.
    Delete(DeleteArgs),
    /// List containers started by runc with the given root.
    List(ListArgs),
    /// Display the processes running inside a container.
    Ps(PsArgs),
    /// Suspend all processes inside the container.
    Pause(Id),
    /// Resume all processes that have been previously paused.
    Resume(Id),
    /// Update container resource constraints.
    Update(Box<UpdateArgs>),
    /// Display container events such as OOM notifications, cpu, memory, and IO usage statistics.
    Events(EventsArgs),
    /// Checkpoint a running container.
    Checkpoint(Box<CheckpointArgs>),
    /// Restore a container from a previous checkpoint.
    Restore(Box<RestoreArgs>),
    /// Create a new specification file.
    Spec(SpecArgs),
    /// Show the enabled features.
    Features,
}

/// The container.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// Id of the container.
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

/// Flags of `create`, which `run` has too.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Path to the root of the bundle directory, defaults to the current directory.
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console.
    #[arg(long)]
    pub(crate) console_socket: Option<OsString>,
    /// Path to an AF_UNIX socket which will receive a file descriptor referencing the init process.
    #[arg(long)]
    pub(crate) pidfd_socket: Option<OsString>,
    /// Specify the file to write the process id to.
    #[arg(long)]
    pub(crate) pid_file: Option<OsString>,
    /// Do not use pivot root to jail process inside rootfs.
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Do not create a new session keyring for the container.
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total).
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    #[command(flatten)]
    pub(crate) id: Id,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Detach from the container's process.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete the container after it exits.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Disable the use of the subreaper used to reap reparented processes.
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// Flags of `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console.
    #[arg(long)]
    pub(crate) console_socket: Option<OsString>,
    /// Path to an AF_UNIX socket which will receive a file descriptor referencing the exec process.
    #[arg(long)]
    pub(crate) pidfd_socket: Option<OsString>,
    /// Current working directory in the container.
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// Set environment variables.
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Allocate a pseudo-TTY.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// UID (format: <uid>[:<gid>]).
    #[arg(short, long, allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    /// Additional gids.
    #[arg(short = 'g', long)]
    pub(crate) additional_gids: Vec<u32>,
    /// Path to the process.json.
    #[arg(short, long)]
    pub(crate) process: Option<PathBuf>,
    /// Detach from the container's process.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Specify the file to write the process id to.
    #[arg(long)]
    pub(crate) pid_file: Option<OsString>,
    /// Set the asm process label for the process commonly used with selinux.
    #[arg(long)]
    pub(crate) process_label: Option<String>,
    /// Set the apparmor profile for the process.
    #[arg(long)]
    pub(crate) apparmor: Option<String>,
    /// Set the no new privileges value for the process.
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Add a capability to the bounding set for the process.
    #[arg(short, long)]
    pub(crate) cap: Vec<String>,
    /// Pass N additional file descriptors to the container.
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Allow exec in a paused container.
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    #[command(flatten)]
    pub(crate) id: Id,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Flags of `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Send the signal to all processes of the container.
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) id: Id,
    /// Name or number.
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

/// Flags of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Forcibly deletes the container if it is still running (uses SIGKILL).
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) id: Id,
}

/// A table for people or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    Table,
    /// JSON.
    Json,
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Select one of: table or json.
    #[arg(short, long, default_value = "table")]
    pub(crate) format: Format,
    /// Display only container IDs.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags of `ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Select one of: table or json.
    #[arg(short, long, default_value = "table")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) id: Id,
    /// Options for ps(1).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Set the stats collection interval, in seconds or as 5s, 1m.
    #[arg(long, default_value = "5s")]
    pub(crate) interval: String,
    /// Display the container's stats then exit.
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) id: Id,
}

/// Flags of `spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Path to the root of the bundle directory.
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
}

/// Flags of `update`.
#[derive(Debug, Args, Default)]
pub(crate) struct UpdateArgs {
    /// Path to the file containing the resources to update or '-' to read from the standard input.
    #[arg(short, long)]
    pub(crate) resources: Option<PathBuf>,
    /// Specifies per cgroup weight, range is from 10 to 1000.
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
    /// CPU CFS period to be used for hardcapping (in usecs).
    #[arg(long)]
    pub(crate) cpu_period: Option<u64>,
    /// CPU CFS hardcap limit (in usecs).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// CPU CFS hardcap burst limit (in usecs).
    #[arg(long)]
    pub(crate) cpu_burst: Option<u64>,
    /// CPU shares (relative weight vs. other containers).
    #[arg(long)]
    pub(crate) cpu_share: Option<u64>,
    /// CPU realtime period to be used for hardcapping (in usecs).
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<u64>,
    /// CPU realtime hardcap limit (in usecs).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// CPU(s) to use.
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory node(s) to use.
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Set cgroup SCHED_IDLE or not.
    #[arg(long)]
    pub(crate) cpu_idle: Option<i64>,
    /// Memory limit (in bytes).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory: Option<i64>,
    /// Memory reservation or soft_limit (in bytes).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_reservation: Option<i64>,
    /// Total memory usage (memory + swap); set '-1' to enable unlimited swap.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Maximum number of pids allowed in the container.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    #[command(flatten)]
    pub(crate) id: IdArg,
}

/// The container, with a default for tests.
#[derive(Debug, Args, Default)]
pub(crate) struct IdArg {
    /// Id of the container.
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_names_the_specification_that_is_understood() {
        assert!(VERSION.ends_with(&format!("\nspec: {}", runtime_spec::OCI_VERSION_MAX)));
    }

    #[test]
    fn global_flags_are_taken_before_and_after_the_command() {
        let before = Cli::try_parse_from(["runc-rs", "--root", "/x", "--log-format", "json", "state", "a"]).unwrap();
        let after = Cli::try_parse_from(["runc-rs", "state", "--root", "/x", "a"]).unwrap();
        assert_eq!(before.global.root, after.global.root);
        let exec = Cli::try_parse_from(["runc-rs", "exec", "-t", "a", "ls", "-l", "--root", "/y"]).unwrap();
        assert!(
            matches!(exec.command, Command::Exec(args) if args.command == ["ls", "-l", "--root", "/y"] && args.tty)
        );
    }
}
