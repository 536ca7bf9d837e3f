//! `checkpoint` and `restore`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::Args;
use runc_rs::{CgroupsMode, CheckpointOptions, CreateOptions, Error, Io, Migration, RestoreOptions, Runtime};

use crate::Failure;
use crate::args::Id;
use crate::foreground::{self, Signals};
use crate::log::Log;

/// Flags of both.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Path for saving criu image files, or to those for restoring.
    #[arg(long, default_value = "")]
    image_path: OsString,
    /// Path for saving work files and logs.
    #[arg(long)]
    work_path: Option<OsString>,
    /// Allow open tcp connections.
    #[arg(long)]
    tcp_established: bool,
    /// Allow external unix sockets.
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow shell jobs.
    #[arg(long)]
    shell_job: bool,
    /// Handle file locks, for safety.
    #[arg(long)]
    file_locks: bool,
    /// Use userfaultfd to lazily restore memory pages.
    #[arg(long)]
    lazy_pages: bool,
    /// Enable auto deduplication of memory images.
    #[arg(long)]
    auto_dedup: bool,
    /// Cgroups mode: soft|full|strict|ignore (default: soft).
    #[arg(long, default_value = "")]
    manage_cgroups_mode: String,
    /// Create a namespace, but don't restore its properties.
    #[arg(long)]
    empty_ns: Vec<String>,
    #[command(flatten)]
    id: Id,
}

/// Flags of `checkpoint`.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// Path for previous criu image files, in pre-dump.
    #[arg(long)]
    parent_path: Option<OsString>,
    /// Leave the process running after checkpointing.
    #[arg(long)]
    leave_running: bool,
    /// Skip in-flight tcp connections.
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Allow one to link unlinked files back when possible.
    #[arg(long)]
    link_remap: bool,
    /// Criu writes \0 to this FD once lazy-pages is ready.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    status_fd: i32,
    /// ADDRESS:PORT of the page server.
    #[arg(long)]
    page_server: Option<String>,
    /// Dump container's memory information only, leave the container running after this.
    #[arg(long)]
    pre_dump: bool,
    #[command(flatten)]
    common: Common,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Path to the root of the bundle directory, defaults to the current directory.
    #[arg(short, long, default_value = ".")]
    bundle: PathBuf,
    /// Path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console.
    #[arg(long)]
    console_socket: Option<OsString>,
    /// Detach from the container's process.
    #[arg(short, long)]
    detach: bool,
    /// Specify the file to write the process id to.
    #[arg(long)]
    pid_file: Option<OsString>,
    /// Disable the use of the subreaper used to reap reparented processes.
    #[arg(long)]
    no_subreaper: bool,
    /// Do not use pivot root to jail process inside rootfs.
    #[arg(long)]
    no_pivot: bool,
    /// Specify an LSM profile to be used during restore in the form of TYPE:NAME.
    #[arg(long)]
    lsm_profile: Option<String>,
    /// Specify an LSM mount context to be used during restore.
    #[arg(long)]
    lsm_mount_context: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn given(path: Option<OsString>) -> Option<PathBuf> {
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn migration(args: Common) -> Result<Migration, Failure> {
    if let Some(name) = args.empty_ns.iter().find(|name| *name != "network") {
        return Err(Failure::new(format!("namespace {name:?} is not supported")));
    }
    let image_path = match given(Some(args.image_path)) {
        Some(path) => path,
        None => std::env::current_dir()?.join("checkpoint"),
    };
    Ok(Migration {
        image_path,
        work_path: given(args.work_path),
        tcp_established: args.tcp_established,
        ext_unix_sk: args.ext_unix_sk,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        lazy_pages: args.lazy_pages,
        auto_dedup: args.auto_dedup,
        manage_cgroups: cgroups_mode(&args.manage_cgroups_mode)?,
    })
}

fn cgroups_mode(text: &str) -> Result<CgroupsMode, Failure> {
    match text {
        "" => Ok(CgroupsMode::Default),
        "soft" => Ok(CgroupsMode::Soft),
        "full" => Ok(CgroupsMode::Full),
        "strict" => Ok(CgroupsMode::Strict),
        "ignore" => Ok(CgroupsMode::Ignore),
        _ => Err(Failure::new("Invalid manage-cgroups-mode value")),
    }
}

fn page_server(text: &str) -> Result<(String, u16), Failure> {
    let usage = || Failure::new("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address.is_empty() || port.is_empty() {
        return Err(usage());
    }
    let port = port.parse().map_err(|_| Failure::new("Invalid port number"))?;
    Ok((address.to_owned(), port))
}

/// A descriptor of ours, opened anew so that it is checked: it has to be there, and writable.
fn status_fd(number: i32) -> Result<Option<OwnedFd>, Failure> {
    if number < 0 {
        return Ok(None);
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{number}"));
    file.map(|file| Some(file.into()))
        .map_err(|error| Failure::new(format!("invalid --status-fd argument {number}: {error}")))
}

/// CRIU's own words go to the log, line by line.
fn failure(error: Error, log: &Log) -> Failure {
    if let Error::Criu { log: lines, .. } = &error {
        for line in lines {
            log.warn(line);
        }
    }
    Failure::from(error)
}

/// `checkpoint`.
pub(crate) fn checkpoint(runtime: &Runtime, args: CheckpointArgs, log: &Log) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        log.warn("runc checkpoint is untested with rootless containers");
    }
    let id = args.common.id.id.clone();
    let options = CheckpointOptions {
        parent_path: given(args.parent_path),
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        pre_dump: args.pre_dump,
        status_fd: status_fd(args.status_fd)?,
        page_server: args.page_server.as_deref().map(page_server).transpose()?,
        common: migration(args.common)?,
    };
    let goes_on = options.leave_running || options.pre_dump;
    runtime.checkpoint(&id, options).map_err(|error| failure(error, log))?;
    if !goes_on {
        runtime.delete(&id, true)?;
    }
    Ok(())
}

/// `restore`.
pub(crate) fn restore(runtime: &Runtime, args: RestoreArgs, log: &Log) -> Result<u8, Failure> {
    if !rustix::process::geteuid().is_root() {
        log.warn("runc restore is untested with rootless containers");
    }
    let id = args.common.id.id.clone();
    let mut create = CreateOptions::new(args.bundle);
    create.no_pivot = args.no_pivot;
    create.pid_file = given(args.pid_file);
    let spec = runc_rs::load_spec(&create.bundle)?;
    let process = spec.process().as_ref();
    let terminal = process.and_then(|process| process.terminal()).unwrap_or(false);
    create.io = match given(args.console_socket) {
        Some(_) if !args.detach => {
            let text = "cannot use console socket if runc will not detach or allocate tty";
            return Err(Failure::new(text));
        }
        Some(socket) => Io::ConsoleSocket(socket),
        None if terminal && !args.detach => Io::Terminal,
        None => Io::Inherit,
    };
    create.spec = Some(spec);
    let options = RestoreOptions {
        create,
        lsm_profile: args.lsm_profile,
        lsm_mount_context: args.lsm_mount_context,
        common: migration(args.common)?,
    };
    let signals = if args.detach { None } else { Some(Signals::block()?) };
    if !args.detach && !args.no_subreaper {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let created = runtime.restore(&id, options).map_err(|error| failure(error, log))?;
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(&signals, created, || Ok(()));
    let deleted = runtime.delete(&id, true);
    let code = code?;
    deleted?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        assert_eq!(page_server("[::1]:27").unwrap(), ("::1".into(), 27));
        assert_eq!(page_server("host:27").unwrap(), ("host".into(), 27));
        for bad in ["host", ":27", "host:", "host:x", "host:70000"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cgroups_modes() {
        assert_eq!(cgroups_mode("").unwrap(), CgroupsMode::Default);
        assert_eq!(cgroups_mode("ignore").unwrap(), CgroupsMode::Ignore);
        assert!(cgroups_mode("hard").is_err());
    }
}
