//! `exec`: a further process in a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runc_rs::{ExecOptions, Status};

use super::process;
use super::start_options::{self as start, io, preserved, warn};
use crate::Failure;
use crate::foreground::{self, Signals};
use crate::grammar::{Command, Count, Flag, Kind};
use crate::invocation::Invocation;

/// Every failure of an exec has this code: the program's own are below it.
const FAILED: u8 = 255;

pub(crate) const COMMAND: Command = Command {
    name: "exec",
    usage: "execute new process inside the container",
    arguments: "<container-id> <command> [command options]  || -p process.json <container-id>

Where \"<container-id>\" is the name of the container and \"<command>\" is what to execute in it.
\"<command>\" can't be empty unless a \"-p\" flag provided.

EXAMPLE:
To list the processes of a container that has the ps program:

       # runc-rs exec <container-id> ps",
    description: "",
    flags: &[
        start::CONSOLE_SOCKET,
        start::PIDFD_SOCKET,
        Flag::text("cwd", "current working directory in the container"),
        Flag::list("env", "set environment variables").short("e"),
        Flag::switch("tty", "allocate a pseudo-TTY").short("t"),
        Flag::text("user", "UID (format: <uid>[:<gid>])").short("u"),
        Flag::new("additional-gids", Kind::Numbers, "additional gids").short("g"),
        Flag::text("process", "path to the process.json").short("p"),
        start::DETACH,
        start::PID_FILE,
        Flag::text(
            "process-label",
            "set the asm process label for the process commonly used with selinux",
        ),
        Flag::text("apparmor", "set the apparmor profile for the process"),
        Flag::switch("no-new-privs", "set the no new privileges value for the process"),
        Flag::list("cap", "add a capability to the bounding set for the process").short("c"),
        start::PRESERVE_FDS,
        Flag::list(
            "cgroup",
            "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.",
        ),
        Flag::switch("ignore-paused", "allow exec in a paused container"),
    ],
    count: Count::AtLeast(1),
    stops: true,
    enters: true,
    run: |invocation| {
        exec(invocation).map_err(|failure| Failure {
            code: FAILED,
            ..failure.within("exec failed")
        })
    },
};

fn exec(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, values, runtime) = (invocation.id()?, &invocation.values, invocation.runtime());
    let preserved = preserved(values.number("preserve-fds"), 0);
    let state = runtime.state(id)?;
    let (detach, ignore_paused) = (values.switch("detach"), values.switch("ignore-paused"));
    // Before the process is looked at: callers ask about the container first.
    match state.status {
        Status::Stopped => return Err(Failure::new("cannot exec in a stopped container")),
        Status::Paused if !ignore_paused => {
            return Err(Failure::new(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let (process, warnings) = process::build(invocation, &state.bundle)?;
    for warning in warnings {
        invocation.log.warn(&warning);
    }
    let sub_cgroups = sub_cgroups(&values.list("cgroup")?)?;
    let io = io(
        process.terminal().unwrap_or(false),
        detach,
        values.path("console-socket"),
    )?;
    let mut options = ExecOptions::new(process);
    options.io = io;
    options.preserve_fds = preserved?;
    options.pid_file = values.path("pid-file");
    options.pidfd_socket = values.path("pidfd-socket");
    options.ignore_paused = ignore_paused;
    options.sub_cgroups = sub_cgroups;
    let signals = if detach { None } else { Some(Signals::block()?) };
    let created = runtime.exec(id, options)?;
    warn(&created, invocation);
    invocation
        .log
        .debug(|| format!("process {} is in container {id}", created.pid));
    match signals {
        None => Ok(0),
        Some(signals) => foreground::wait(&signals, created, || Ok(())),
    }
}

/// `--cgroup`: one path, or `controller[,controller...]:path` again and again.
fn sub_cgroups(arguments: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let invalid = |argument: &str, why: &str| Failure::new(format!("invalid --cgroup argument: {argument} ({why})"));
    let mut paths = BTreeMap::new();
    for argument in arguments {
        let Some((controllers, path)) = argument.split_once(':') else {
            if arguments.len() != 1 {
                return Err(invalid(argument, "missing <controller>: prefix"));
            }
            paths.insert(String::new(), PathBuf::from(argument));
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(invalid(argument, "empty <controller> prefix"));
            }
            if paths.insert(controller.to_owned(), PathBuf::from(path)).is_some() {
                let message = format!("invalid --cgroup argument(s): controller {controller} specified multiple times");
                return Err(Failure::new(message));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_by_controller() {
        let read = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            match sub_cgroups(&arguments) {
                Ok(paths) => paths.iter().map(|(c, p)| format!("{c}={} ", p.display())).collect(),
                Err(failure) => failure.message,
            }
        };
        for (arguments, want) in [
            (&[][..], ""),
            (&["a/b"], "=a/b "),
            (&["cpu,cpuacct:x", "pids:y"], "cpu=x cpuacct=x pids=y "),
            (
                &["a", "b"],
                "invalid --cgroup argument: a (missing <controller>: prefix)",
            ),
            (
                &["cpu:x", "b"],
                "invalid --cgroup argument: b (missing <controller>: prefix)",
            ),
            (&[":x"], "invalid --cgroup argument: :x (empty <controller> prefix)"),
            (
                &["cpu,:x"],
                "invalid --cgroup argument: cpu,:x (empty <controller> prefix)",
            ),
            (
                &["cpu:x", "cpu:y"],
                "invalid --cgroup argument(s): controller cpu specified multiple times",
            ),
        ] {
            assert_eq!(read(arguments), want, "{arguments:?}");
        }
    }
}
