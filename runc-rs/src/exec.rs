//! `exec`: a further process in a container.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use crate::channel::{Channel, Message};
use crate::checks::check_io;
use crate::create::{
    announce, connect_listener, died, during_init, hand_over, hook_state, keyring_name, open_pidfd, streams,
};
use crate::init::CgroupFiles;
use crate::init::join::{self, JoinContext};
use crate::intel_rdt::Groups;
use crate::options::{Created, ExecOptions, Io};
use crate::plan::process::{ProcessPlan, plan_process};
use crate::record::Record;
use crate::rootless::is_unprivileged;
use crate::seccomp::Filter;
use crate::spawn::{PidNamespace, fork_into};
use crate::store::Directory;
use crate::sys::process;
use crate::{Error, Status, cgroup, lifecycle, procinfo, sockets};

/// Starts a process in container `id`.
pub(crate) fn exec(root: &Path, id: &str, options: ExecOptions) -> Result<Created, Error> {
    let directory = Directory::new(root, id)?;
    let record = directory.load()?;
    check_status(&record, &directory, options.ignore_paused)?;
    let mut warnings = Vec::new();
    let plan = plan(&options.process, &record, &options.io, &mut warnings)?;
    let filter = if record.seccomp {
        Some(Filter::from_bytes(
            &directory.load_filter()?,
            record.seccomp_listener.clone(),
        )?)
    } else {
        None
    };
    let console_socket = match &options.io {
        Io::ConsoleSocket(path) => Some(sockets::connect_to(path)?),
        _ => None,
    };
    let (pid_file, pidfd_socket) = (options.pid_file.clone(), options.pidfd_socket.clone());
    let sub_cgroups = options.sub_cgroups.clone();
    let (channel, mut pid) =
        fork(&record, &plan, filter.as_ref(), options).map_err(|error| ended_meanwhile(error, &record))?;
    let finish = || {
        let console = converse(&channel, &mut pid, &record, &sub_cgroups)?;
        let console = hand_over(console, console_socket)?;
        announce(pid, pid_file.as_deref(), pidfd_socket.as_deref())?;
        Ok(Created {
            pid,
            pidfd: open_pidfd(pid),
            console,
            warnings,
        })
    };
    let finished: Result<Created, Error> = finish();
    finished.map_err(|error| {
        if let Some(pid) = Pid::from_raw(pid) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        process::reap(pid);
        ended_meanwhile(error, &record)
    })
}

/// In a container that ends meanwhile every step can fail in its own words, and its first process is still there for a moment when they
/// do. What is wrong with the program itself is said at once.
fn ended_meanwhile(error: Error, record: &Record) -> Error {
    let about_program = |text: &str| text.starts_with("exec: ") || text.starts_with("chdir to cwd");
    match &error {
        Error::Process(text) if about_program(text) => error,
        Error::Process(_) | Error::System { .. } if ends_soon(record) => Error::NotRunning(record.id.clone()),
        _ => error,
    }
}

/// Whether the first process has ended, or ends within a moment.
fn ends_soon(record: &Record) -> bool {
    let Some(init) = procinfo::open(record.pid, record.start_time) else {
        return true;
    };
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 300_000_000,
    };
    matches!(poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&limit)), Ok(1))
}

fn check_status(record: &Record, directory: &Directory, ignore_paused: bool) -> Result<(), Error> {
    let refuse = |status, message: &str| {
        Err(Error::WrongStatus {
            id: record.id.clone(),
            status,
            message: message.into(),
        })
    };
    match lifecycle::status(record, directory)? {
        Status::Stopped => refuse(Status::Stopped, "cannot exec in a stopped container"),
        Status::Creating => refuse(Status::Creating, "cannot exec in a container that is being created"),
        Status::Paused if !ignore_paused => refuse(
            Status::Paused,
            "cannot exec in a paused container (use --ignore-paused to override)",
        ),
        _ => Ok(()),
    }
}

/// The process as a plan, with the container's own settings where the process has none.
fn plan(process: &Process, record: &Record, io: &Io, warnings: &mut Vec<String>) -> Result<ProcessPlan, Error> {
    let mut plan = plan_process(process, warnings)?;
    plan.capabilities = plan.capabilities.or(record.capabilities);
    record.inherited.complete(&mut plan, process.user().umask().is_some());
    check_io(plan.terminal, io)?;
    Ok(plan)
}

/// Whether the child enters the pid namespace itself, and so makes another one that goes on.
fn hands_on(record: &Record) -> bool {
    is_unprivileged() && record.namespaces & libc::CLONE_NEWUSER != 0
}

fn fork(
    record: &Record,
    plan: &ProcessPlan,
    filter: Option<&Filter>,
    options: ExecOptions,
) -> Result<(Channel, i32), Error> {
    let gone = || Error::NotRunning(record.id.clone());
    let init = procinfo::open(record.pid, record.start_time).ok_or_else(gone)?;
    // An ordinary user may enter the pid namespace only after the user namespace: the child does both.
    let late = hands_on(record);
    let pid_namespace = if record.namespaces & libc::CLONE_NEWPID != 0 && !late {
        PidNamespace::Join(
            init.try_clone()
                .map_err(|error| Error::system("dup of the pidfd", error))?,
        )
    } else {
        PidNamespace::Own
    };
    let (group, cgroup_files) = cgroup::for_exec(record, &options.sub_cgroups)?;
    let (parent, child) = Channel::pair().map_err(|error| Error::system("socketpair", error))?;
    let context = JoinContext {
        plan,
        channel: child,
        init,
        namespaces: if late {
            record.namespaces
        } else {
            record.namespaces & !libc::CLONE_NEWPID
        },
        cgroup_files: CgroupFiles {
            resctrl: record.intel_rdt.as_ref().map(Groups::tasks).unwrap_or_default(),
            ..cgroup_files
        },
        preserve_fds: options.preserve_fds,
        stdio: streams(options.io),
        keyring: record.keyring.then(|| keyring_name(&record.id)).flatten(),
        seccomp: filter,
        listener: connect_listener(filter)?,
        state: hook_state(record, Status::Running, record.pid),
        environment: crate::sys::environment::area(),
    };
    // A process that is born in the cgroup was never anywhere else: its first processors have to be set before.
    let cgroup2 = if plan.cpu_affinity.initial.is_empty() {
        cgroup::unified(&group)
    } else {
        None
    };
    let pid = fork_into(&pid_namespace, cgroup2.as_ref().map(AsFd::as_fd), |birth| {
        join::run(&context, birth)
    })?;
    Ok((parent, pid))
}

/// Listens until the program has been executed: the channel closes itself then. `pid` becomes the successor's when the child hands on.
fn converse(
    channel: &Channel,
    pid: &mut i32,
    record: &Record,
    sub_cgroups: &BTreeMap<String, PathBuf>,
) -> Result<Option<OwnedFd>, Error> {
    let mut console = None;
    let mut ready = false;
    // As in `create`: killed between making its successor and telling of it, it would leave us waiting.
    let mut watched = hands_on(record).then(|| open_pidfd(*pid)).flatten();
    loop {
        let heard = match &watched {
            Some(process) => channel.receive_from(process.as_fd()),
            None => channel.receive(),
        };
        match heard.map_err(|error| Error::system("hear from the child", error))? {
            Some(Message::Ready) => ready = true,
            Some(Message::Console(master)) => console = Some(master),
            Some(Message::Successor(successor)) => {
                watched = None;
                process::reap(std::mem::replace(pid, successor));
            }
            Some(Message::TellPid) => tell_pid(channel, *pid)?,
            Some(Message::EnterCgroup) => {
                cgroup::attach(record, sub_cgroups, *pid)?;
                tell_pid(channel, *pid)?;
            }
            Some(Message::Failed(text)) => return Err(Error::Process(during_init(text))),
            Some(_) => {}
            None if ready => return Ok(console),
            None => return Err(Error::Process(died(*pid))),
        }
    }
}

fn tell_pid(channel: &Channel, pid: i32) -> Result<(), Error> {
    channel
        .send(&Message::Go(pid))
        .map_err(|error| Error::system("tell the child its pid", error))
}
