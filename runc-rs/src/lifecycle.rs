//! What happens to a container after `create`: start, state, kill, pause, update.

use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use runc_rs_cgroups::{Cgroup, FreezerState};

use crate::cgroup::kill as kill_all;
use crate::create::{during_init, hook_state};
use crate::intel_rdt::Wanted;
use crate::record::Record;
use crate::store::{Directory, ids};
use crate::sys::process;
use crate::{Entry, Error, State, Status, hooks, procinfo};

/// runc's words for processes that no cgroup holds together.
const UNREACHABLE: &str =
    "failed to kill all processes, possibly due to lack of cgroup (Hint: enable cgroup v2 delegation)";

/// The container's cgroup.
pub(crate) fn cgroup(record: &Record) -> Cgroup {
    Cgroup::load(record.cgroup_paths.clone()).with_unit(record.unit.clone())
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

pub(crate) fn is_paused(record: &Record) -> Result<bool, Error> {
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
    let Some(woken) = directory.wake()? else {
        return Err(wrong(
            &record,
            Status::Stopped,
            "cannot start a container that has stopped",
        ));
    };
    drop(lock);
    // They come before the program, and `poststart` after it: only so is it known in which order, and whether one failed.
    if !record.hooks.start_container.is_empty()
        && let Some(text) = woken.executed()?
    {
        return Err(Error::Process(during_init(text)));
    }
    let state = hook_state(&record, Status::Running, record.pid);
    hooks::run("poststart", &record.hooks.poststart, &state).inspect_err(|_| {
        // runtime-spec, "Lifecycle", step 10: the container is stopped. One that has ended by itself is no error.
        let _ = kill(root, id, libc::SIGKILL, false);
    })
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

/// Each container's id, with its state or why it cannot be told.
pub(crate) fn entries(root: &Path) -> Result<Vec<Entry>, Error> {
    let entries = ids(root)?.into_iter().map(|id| {
        let state = state(root, &id);
        Entry { id, state }
    });
    // Removed meanwhile, or not yet written.
    Ok(entries
        .filter(|entry| !matches!(entry.state, Err(Error::NotFound(_))))
        .collect())
}

pub(crate) fn record(root: &Path, id: &str) -> Result<Record, Error> {
    Directory::new(root, id)?.load()
}

pub(crate) fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let record = record(root, id)?;
    // With a shared pid namespace the end of the first process ends nobody else. Without a cgroup nobody else can be found.
    let contained = !record.cgroup_paths.is_empty();
    if contained && (all || (signal == libc::SIGKILL && !record.own_pid_namespace)) {
        return kill_all(&cgroup(&record), signal);
    }
    if all && !(signal == libc::SIGKILL && record.own_pid_namespace) {
        return Err(Error::Cgroup(UNREACHABLE.into()));
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
        Status::Running | Status::Created if record.cgroup_paths.is_empty() => Err(Error::Cgroup(
            "cannot toggle freezer: cgroups not configured for container".into(),
        )),
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
    cgroup(&record).update(resources).map_err(|error| failed(&error))
}

pub(crate) fn update_intel_rdt(root: &Path, id: &str, l3: Option<&str>, bandwidth: Option<&str>) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let _lock = directory.lock()?;
    let mut record = directory.load()?;
    if status(&record, &directory)? == Status::Stopped {
        return Err(Error::NotRunning(id.into()));
    }
    let info = crate::intel_rdt::find_root().map(|root| root.join("info"));
    let has = |name: &str| info.as_ref().is_some_and(|info| info.join(name).exists());
    let refuse = |words: &str| Err(Error::Cgroup(format!("Intel RDT/{words} schema is not enabled")));
    if l3.is_some() && !has("L3") && !has("L3CODE") {
        return refuse("CAT: l3 cache");
    }
    if bandwidth.is_some() && !has("MB") {
        return refuse("MBA: memory bandwidth");
    }
    let wanted = Wanted::schemas(l3, bandwidth);
    let Some(groups) = &record.intel_rdt else {
        // Until now it was in nobody's class.
        let groups = crate::intel_rdt::locate(Some(&wanted), crate::intel_rdt::find_root, id)?;
        if let Some(groups) = &groups {
            groups.make(&wanted)?;
            groups.enter(record.pid)?;
        }
        record.intel_rdt = groups;
        return directory.save(&record);
    };
    groups.write_schemata(&wanted)
}

pub(crate) fn processes(root: &Path, id: &str) -> Result<Vec<i32>, Error> {
    let record = record(root, id)?;
    if record.cgroup_paths.is_empty() {
        // runc walks a path that is empty.
        return Err(Error::Cgroup(
            "unable to get all container pids: lstat : no such file or directory".into(),
        ));
    }
    cgroup(&record).pids().map_err(|error| failed(&error))
}
