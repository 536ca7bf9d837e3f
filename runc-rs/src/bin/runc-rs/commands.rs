//! One function for each command.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use runc_rs::{CreateOptions, Created, Error, ExecOptions, Io, Runtime, State};

use crate::Failure;
use crate::args::{Cli, Command, CreateArgs, ExecArgs, Format, Global, KillArgs, ListArgs, PsArgs, RunArgs, SpecArgs};
use crate::foreground::{self, Signals};
use crate::log::Log;
use crate::{checkpoint, events, process, signals, update};

/// Runs the command; returns the exit code.
pub(crate) fn dispatch(cli: Cli, log: &Log) -> Result<u8, Failure> {
    let global = cli.global;
    let runtime = Runtime::new(root(&global));
    let needs_cgroup = matches!(cli.command, Command::Create(_) | Command::Run(_));
    if global.systemd_cgroup && needs_cgroup {
        return Err(Failure::new("systemd cgroup driver is not supported by this build"));
    }
    match cli.command {
        Command::Create(args) => create(&runtime, args, log)?,
        Command::Start(args) => runtime.start(&args.id)?,
        Command::Run(args) => return run(&runtime, args, log),
        Command::Exec(args) => return exec(&runtime, args, log).map_err(|failure| Failure { code: 255, ..failure }),
        Command::State(args) => print_json(&runtime.state(&args.id)?)?,
        Command::Kill(args) => kill(&runtime, &args)?,
        Command::Delete(args) => delete(&runtime, &args.id.id, args.force)?,
        Command::List(args) => list(&runtime, &args)?,
        Command::Ps(args) => ps(&runtime, &args)?,
        Command::Pause(args) => runtime.pause(&args.id)?,
        Command::Resume(args) => runtime.resume(&args.id)?,
        Command::Update(args) => runtime.update(&args.id.id, &update::resources(&args)?)?,
        Command::Events(args) => events::events(&runtime, &args)?,
        Command::Checkpoint(args) => checkpoint::checkpoint(&runtime, *args, log)?,
        Command::Restore(args) => return checkpoint::restore(&runtime, *args, log),
        Command::Spec(args) => spec(&args, &global)?,
        Command::Features => print_json(&runc_rs::features())?,
    }
    Ok(0)
}

/// The state directory: as given, or beneath `/run`, or for an ordinary user beneath `XDG_RUNTIME_DIR`.
fn root(global: &Global) -> PathBuf {
    if let Some(root) = &global.root {
        return std::path::absolute(root).unwrap_or_else(|_| root.clone());
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime_dir {
        Some(dir) if !rustix::process::geteuid().is_root() => PathBuf::from(dir).join("runc-rs"),
        _ => PathBuf::from("/run/runc-rs"),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::from)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value)?)
}

/// An option's path; an empty one is as good as none, as in runc.
fn given(path: Option<OsString>) -> Option<PathBuf> {
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The options of `create` and `run`. With `console` the terminal comes back to us.
fn create_options(args: &mut CreateArgs, io: Io) -> CreateOptions {
    let mut options = CreateOptions::new(std::mem::take(&mut args.bundle));
    options.io = io;
    options.no_pivot = args.no_pivot;
    options.no_new_keyring = args.no_new_keyring;
    options.preserve_fds = args.preserve_fds;
    options.pid_file = given(args.pid_file.take());
    options.pidfd_socket = given(args.pidfd_socket.take());
    options
}

/// Socket activation (`sd_listen_fds(3)`): what the caller was given from descriptor 3 on goes to the container's first process.
fn pass_sockets(options: &mut CreateOptions) -> Result<(), Error> {
    let given = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|number| number.parse::<u32>().ok());
    let Some(number) = given.filter(|number| *number > 0) else {
        return Ok(());
    };
    let mut spec = match options.spec.take() {
        Some(spec) => spec,
        None => runc_rs::load_spec(&options.bundle)?,
    };
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend([format!("LISTEN_FDS={number}"), "LISTEN_PID=1".to_owned()]);
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
    options.spec = Some(spec);
    options.preserve_fds = options.preserve_fds.saturating_add(number);
    Ok(())
}

fn detached_io(console_socket: Option<OsString>) -> Io {
    given(console_socket).map_or(Io::Inherit, Io::ConsoleSocket)
}

fn warn(created: &Created, log: &Log) {
    for warning in &created.warnings {
        log.warn(warning);
    }
}

fn create(runtime: &Runtime, mut args: CreateArgs, log: &Log) -> Result<(), Failure> {
    let io = detached_io(args.console_socket.take());
    let mut options = create_options(&mut args, io);
    pass_sockets(&mut options).map_err(|error| Failure::new(format!("runc create failed: {error}")))?;
    let created = runtime
        .create(&args.id.id, options)
        .map_err(|error| Failure::new(format!("runc create failed: {error}")))?;
    warn(&created, log);
    Ok(())
}

fn run(runtime: &Runtime, mut args: RunArgs, log: &Log) -> Result<u8, Failure> {
    let failed = |message: String| Failure::new(format!("runc run failed: {message}"));
    let id = args.create.id.id.clone();
    let console_socket = given(args.create.console_socket.take());
    let spec = runc_rs::load_spec(&args.create.bundle).map_err(|error| failed(error.to_string()))?;
    let terminal = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let io = match console_socket {
        Some(_) if !args.detach => {
            return Err(failed(
                "cannot use console socket if runc will not detach or allocate tty".into(),
            ));
        }
        Some(socket) => Io::ConsoleSocket(socket),
        None if terminal && !args.detach => Io::Terminal,
        None => Io::Inherit,
    };
    let mut options = create_options(&mut args.create, io);
    options.spec = Some(spec);
    pass_sockets(&mut options).map_err(|error| failed(error.to_string()))?;
    let signals = if args.detach { None } else { Some(Signals::block()?) };
    if !args.detach && !args.no_subreaper {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).map_err(|error| failed(error.to_string()))?;
    }
    let created = runtime
        .create(&id, options)
        .map_err(|error| failed(error.to_string()))?;
    warn(&created, log);
    let start = || runtime.start(&id).map_err(|error| failed(error.to_string()));
    let result = match signals {
        None => start().map(|()| 0),
        Some(signals) => foreground::wait(&signals, created, start),
    };
    // A detached container goes on; everything else is over, one way or the other.
    if (result.is_err() || !args.detach) && !args.keep {
        let deleted = runtime.delete(&id, true);
        if result.is_ok() {
            deleted?;
        }
    }
    result
}

fn exec(runtime: &Runtime, mut args: ExecArgs, log: &Log) -> Result<u8, Failure> {
    let failed = |message: String| Failure::new(format!("exec failed: {message}"));
    let id = args.id.id.clone();
    let state = runtime.state(&id).map_err(|error| failed(error.to_string()))?;
    if args.process.is_none() && args.command.is_empty() {
        return Err(failed("process args cannot be empty".into()));
    }
    let mut process = process::build(&args, &state.bundle).map_err(|failure| failed(failure.message))?;
    let console_socket = given(args.console_socket.take());
    let terminal = process.terminal().unwrap_or(false) || args.tty;
    process.set_terminal(Some(terminal));
    let io = match console_socket {
        Some(socket) if args.detach => Io::ConsoleSocket(socket),
        Some(_) => {
            return Err(failed(
                "cannot use console socket if runc will not detach or allocate tty".into(),
            ));
        }
        None if terminal && !args.detach => Io::Terminal,
        None => Io::Inherit,
    };
    let mut options = ExecOptions::new(process);
    options.io = io;
    options.preserve_fds = args.preserve_fds;
    options.pid_file = given(args.pid_file);
    options.pidfd_socket = given(args.pidfd_socket);
    options.ignore_paused = args.ignore_paused;
    let signals = if args.detach { None } else { Some(Signals::block()?) };
    let created = runtime.exec(&id, options).map_err(|error| failed(error.to_string()))?;
    warn(&created, log);
    match signals {
        None => Ok(0),
        Some(signals) => foreground::wait(&signals, created, || Ok(())).map_err(|failure| failed(failure.message)),
    }
}

fn kill(runtime: &Runtime, args: &KillArgs) -> Result<(), Failure> {
    // The container first: a caller asks about it, not about the signal.
    runtime.state(&args.id.id)?;
    let signal =
        signals::parse(&args.signal).ok_or_else(|| Failure::new(format!("unknown signal {:?}", args.signal)))?;
    Ok(runtime.kill(&args.id.id, signal, args.all)?)
}

fn delete(runtime: &Runtime, id: &str, force: bool) -> Result<(), Failure> {
    match runtime.delete(id, force) {
        Err(Error::NotFound(_)) if force => Ok(()),
        result => Ok(result?),
    }
}

fn list(runtime: &Runtime, args: &ListArgs) -> Result<(), Failure> {
    let states = runtime.list()?;
    if args.quiet {
        return print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
    }
    match args.format {
        // runc prints null for an empty list, and so do its callers expect.
        Format::Json if states.is_empty() => print("null"),
        Format::Json => print(&serde_json::to_string(&states)?),
        Format::Table => print(&table(&states)),
    }
}

fn table(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        let bundle = state.bundle.display().to_string();
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            bundle,
            state.created.clone(),
            state.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(states.iter().map(row)).collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max(9)
            + 3
    };
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            text += &if last {
                cell.clone()
            } else {
                format!("{cell:<width$}", width = width(column))
            };
        }
        text.push('\n');
    }
    text
}

fn ps(runtime: &Runtime, args: &PsArgs) -> Result<(), Failure> {
    let pids = runtime.processes(&args.id.id)?;
    if args.format == Format::Json {
        return print(&serde_json::to_string(&pids)?);
    }
    let default = ["-ef".to_owned()];
    let options = if args.options.is_empty() {
        &default[..]
    } else {
        &args.options
    };
    let output = std::process::Command::new("ps").args(options).output()?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let ours = lines.filter(|line| {
        line.split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    });
    print(
        &std::iter::once(title)
            .chain(ours)
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )
}

fn spec(args: &SpecArgs, global: &Global) -> Result<(), Failure> {
    let rootless =
        (global.rootless == "true").then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    let cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let text = runtime_spec::default::default_spec_json(runtime_spec::default::Options { rootless, cgroup2 });
    let path = args.bundle.join("config.json");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::new("File config.json exists. Remove it first"))
        }
        Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))),
        Ok(mut file) => Ok(file.write_all(text.as_bytes())?),
    }
}
