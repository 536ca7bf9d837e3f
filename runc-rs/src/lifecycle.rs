//! What happens to a container after `create`: start, state, kill, pause, update, delete.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use runc_rs_cgroups::{Cgroup, FreezerState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::kill as kill_all;
use crate::create::hook_state;
use crate::record::Record;
use crate::store::{Directory, Lock, ids};
use crate::sys::process;
use crate::{Error, State, Status, hooks, procinfo};

/// How long a killed process may take to end before `delete` gives up, as in runc.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The container's cgroup.
pub(crate) fn cgroup(record: &Record) -> Cgroup {
    Cgroup::load(record.cgroup_paths.clone())
}

fn failed(error: &runc_rs_cgroups::Error) -> Error {
    Error::Cgroup(error.to_string())
}

/// Where the container stands. Asks the kernel, never the record alone.
pub(crate) fn status(record: &Record, directory: &Directory) -> Result<Status, Error> {
    if record.pid == 0 {
        return Ok(Status::Creating);
    }
    let lives = procinfo::read(record.pid).is_some_and(|info| info.start_time == record.start_time && !info.ended);
    if !lives {
        return Ok(Status::Stopped);
    }
    if is_paused(record)? {
        return Ok(Status::Paused);
    }
    Ok(if directory.waits_for_start() {
        Status::Created
    } else {
        Status::Running
    })
}

fn is_paused(record: &Record) -> Result<bool, Error> {
    match cgroup(record).freezer_state() {
        Ok(state) => Ok(state == FreezerState::Frozen),
        // A host without a freezer pauses nothing.
        Err(runc_rs_cgroups::Error::NoController { .. }) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

fn wrong(record: &Record, status: Status, message: impl Into<String>) -> Error {
    Error::WrongStatus {
        id: record.id.clone(),
        status,
        message: message.into(),
    }
}

pub(crate) fn start(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let lock = directory.lock()?;
    let record = directory.load()?;
    match status(&record, &directory)? {
        Status::Created => {}
        Status::Stopped => {
            return Err(wrong(
                &record,
                Status::Stopped,
                "cannot start a container that has stopped",
            ));
        }
        Status::Running => {
            return Err(wrong(
                &record,
                Status::Running,
                "cannot start an already running container",
            ));
        }
        status => {
            return Err(wrong(
                &record,
                status,
                format!("cannot start a container in the {status} state"),
            ));
        }
    }
    if !directory.wake()? {
        return Err(wrong(
            &record,
            Status::Stopped,
            "cannot start a container that has stopped",
        ));
    }
    drop(lock);
    hooks::run(
        "poststart",
        &record.hooks.poststart,
        &hook_state(&record, Status::Running, record.pid),
    )
}

fn state_of(record: Record, directory: &Directory) -> Result<State, Error> {
    let status = status(&record, directory)?;
    Ok(State {
        oci_version: record.oci_version,
        id: record.id,
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: owner_name(record.owner),
    })
}

/// The user's name on the host. runc leaves it empty where it cannot tell; a number says more.
fn owner_name(uid: u32) -> String {
    let table = if uid == 0 {
        return "root".into();
    } else {
        std::fs::read_to_string("/etc/passwd").unwrap_or_default()
    };
    let line = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = line
        .filter(|fields| fields.get(2).is_some_and(|id| *id == uid.to_string()))
        .find_map(|fields| fields.first().map(|name| (*name).to_owned()));
    name.unwrap_or_else(|| format!("#{uid}"))
}

pub(crate) fn state(root: &Path, id: &str) -> Result<State, Error> {
    let directory = Directory::new(root, id)?;
    let record = directory.load()?;
    state_of(record, &directory)
}

pub(crate) fn list(root: &Path) -> Result<Vec<State>, Error> {
    let mut states = Vec::new();
    for id in ids(root)? {
        match state(root, &id) {
            Ok(state) => states.push(state),
            // Removed meanwhile, or not yet written.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(states)
}

pub(crate) fn record(root: &Path, id: &str) -> Result<Record, Error> {
    Directory::new(root, id)?.load()
}

pub(crate) fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let record = record(root, id)?;
    // With a shared pid namespace the end of the first process ends nobody else.
    if all || (signal == libc::SIGKILL && !record.own_pid_namespace) {
        return kill_all(&cgroup(&record), signal);
    }
    let not_running = || Error::NotRunning(id.into());
    let init = procinfo::open(record.pid, record.start_time).ok_or_else(not_running)?;
    match process::pidfd_send_signal(init.as_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(not_running()),
        result => result.map_err(|error| Error::system("unable to signal init", error))?,
    }
    // On v1 a frozen process does not even die.
    if signal == libc::SIGKILL && is_paused(&record)? {
        cgroup(&record).thaw().map_err(|error| failed(&error))?;
    }
    Ok(())
}

pub(crate) fn pause(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let _lock = directory.lock()?;
    let record = directory.load()?;
    match status(&record, &directory)? {
        Status::Running | Status::Created => cgroup(&record).freeze().map_err(|error| failed(&error)),
        status => Err(wrong(&record, status, "container not running")),
    }
}

pub(crate) fn resume(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let _lock = directory.lock()?;
    let record = directory.load()?;
    match status(&record, &directory)? {
        Status::Paused => cgroup(&record).thaw().map_err(|error| failed(&error)),
        status => Err(wrong(&record, status, "container not paused")),
    }
}

pub(crate) fn update(root: &Path, id: &str, resources: &LinuxResources) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let _lock = directory.lock()?;
    let record = directory.load()?;
    if status(&record, &directory)? == Status::Stopped {
        return Err(Error::NotRunning(id.into()));
    }
    cgroup(&record).set(resources).map_err(|error| failed(&error))
}

pub(crate) fn processes(root: &Path, id: &str) -> Result<Vec<i32>, Error> {
    cgroup(&record(root, id)?).pids().map_err(|error| failed(&error))
}

pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let lock = match directory.lock() {
        Err(Error::NotFound(_)) if force => return Ok(()),
        result => result?,
    };
    let record = match directory.load() {
        // Its creator died before it wrote a record: nothing else can be there.
        Err(Error::NotFound(_)) => return directory.remove(),
        result => result?,
    };
    let status = status(&record, &directory)?;
    match status {
        Status::Stopped => {}
        // The lock is ours, so its creator is dead.
        Status::Creating | Status::Created => end(&record)?,
        _ if force => end(&record)?,
        status => return Err(Error::NotStopped { id: id.into(), status }),
    }
    destroy(&record, &directory, lock)
}

/// Kills the first process and waits until it has ended.
fn end(record: &Record) -> Result<(), Error> {
    let group = cgroup(record);
    if record.pid == 0 || !record.own_pid_namespace {
        kill_all(&group, libc::SIGKILL)?;
    }
    let Some(init) = procinfo::open(record.pid, record.start_time) else {
        return Ok(());
    };
    match process::pidfd_send_signal(init.as_fd(), libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            return Err(Error::system(format!("kill {}", record.pid), error));
        }
        _ => {}
    }
    if is_paused(record)? {
        group.thaw().map_err(|error| failed(&error))?;
    }
    wait_for_end(&init)
}

fn wait_for_end(init: &OwnedFd) -> Result<(), Error> {
    let limit = Timespec {
        tv_sec: KILL_LIMIT.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    loop {
        match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(Error::Process("container init still running".into())),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for the container's end", error)),
        }
    }
}

/// Removes everything of a container whose first process has ended.
fn destroy(record: &Record, directory: &Directory, lock: Lock) -> Result<(), Error> {
    let group = cgroup(record);
    if !record.own_pid_namespace {
        kill_all(&group, libc::SIGKILL)?;
    }
    group.delete().map_err(|error| failed(&error))?;
    directory.remove()?;
    drop(lock);
    hooks::run(
        "poststop",
        &record.hooks.poststop,
        &hook_state(record, Status::Stopped, 0),
    )
}
