//! `delete`: the end of a container, whatever state it was left in.
//!
//! A second attempt always finds what the first one left: processes are ended first, then the cgroup is removed, then the record, then
//! the directory. With force a record that cannot be read is no reason to stop, nor is a creator that hangs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runc_rs_cgroups::systemd::Unit;
use runc_rs_cgroups::{Cgroup, FreezerState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::cgroup::kill as kill_all;
use crate::create::hook_state;
use crate::lifecycle::status;
use crate::record::Record;
use crate::store::{Directory, Lock};
use crate::sys::process;
use crate::{Error, Status, hooks, procinfo};

/// How long a killed process may take to end before `delete` gives up, as in runc.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long it is given before somebody looks what holds it.
const KILL_GRACE: Duration = Duration::from_millis(300);

/// How long `delete` with force lets another command on the container go on.
const GRACE: Duration = Duration::from_secs(1);

/// What of a container has to be ended. Read with leniency, so that it can be had of a record that is no record any more.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Remains {
    id: String,
    pid: i32,
    start_time: u64,
    cgroup_paths: BTreeMap<String, PathBuf>,
    unit: Option<Unit>,
    own_pid_namespace: bool,
}

impl From<&Record> for Remains {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            pid: record.pid,
            start_time: record.start_time,
            cgroup_paths: record.cgroup_paths.clone(),
            unit: record.unit.clone(),
            own_pid_namespace: record.own_pid_namespace,
        }
    }
}

fn failed(error: &runc_rs_cgroups::Error) -> Error {
    Error::Cgroup(error.to_string())
}

/// Deletes container `id`. Returns what its `poststop` hooks failed at.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>, Error> {
    let directory = Directory::new(root, id)?;
    let lock = match if force { take_over(&directory) } else { directory.lock() } {
        Err(Error::NotFound(_)) if force => return Ok(Vec::new()),
        result => result?,
    };
    let record = match directory.load() {
        // Its creator died before it wrote a record: nothing else can be there.
        Err(Error::NotFound(_)) => return directory.remove().map(|()| Vec::new()),
        Err(Error::Json { .. } | Error::File { .. }) if force => {
            return delete_broken(&directory).map(|()| Vec::new());
        }
        result => result?,
    };
    let mut remains = Remains::from(&record);
    if force {
        remains.keep_cgroups();
        remains.end()?;
    } else {
        match status(&record, &directory)? {
            Status::Stopped => {}
            // The lock is ours, so its creator is dead.
            Status::Creating | Status::Created => remains.end()?,
            status => return Err(Error::NotStopped { id: id.into(), status }),
        }
    }
    destroy(&record, &remains, &directory, lock, force)
}

/// The lock, from a creator that hangs (in a hook, for example) by ending what it makes: it notices, gives up, and takes all back.
fn take_over(directory: &Directory) -> Result<Lock, Error> {
    if let Some(lock) = directory.lock_within(GRACE)? {
        return Ok(lock);
    }
    match directory.load() {
        Ok(record) if record.pid == 0 => kill_all(&Remains::from(&record).group(), libc::SIGKILL)?,
        _ => {}
    }
    directory.lock()
}

/// Ends and removes what can be made out of a record that cannot be read.
fn delete_broken(directory: &Directory) -> Result<(), Error> {
    let mut remains: Remains = directory
        .raw_record()
        .and_then(|text| serde_json::from_slice(&text).ok())
        // Another one's processes are not ours to end.
        .filter(|remains: &Remains| remains.id == directory.id())
        .unwrap_or_default();
    remains.keep_cgroups();
    remains.end()?;
    remains.remove_cgroup(true)?;
    directory.remove()
}

impl Remains {
    /// Forgets what is said to be a cgroup and is not.
    fn keep_cgroups(&mut self) {
        self.cgroup_paths.retain(|_, path| runc_rs_cgroups::is_cgroup(path));
    }

    fn group(&self) -> Cgroup {
        Cgroup::load(self.cgroup_paths.clone()).with_unit(self.unit.clone())
    }

    /// Kills the first process and waits until it has ended.
    fn end(&self) -> Result<(), Error> {
        let group = self.group();
        if self.pid == 0 || !self.own_pid_namespace {
            kill_all(&group, libc::SIGKILL)?;
        }
        let Some(init) = procinfo::open(self.pid, self.start_time) else {
            return Ok(());
        };
        match process::pidfd_send_signal(init.as_fd(), libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(Error::system(format!("kill {}", self.pid), error));
            }
            _ => {}
        }
        if matches!(group.freezer_state(), Ok(FreezerState::Frozen)) {
            group.thaw().map_err(|error| failed(&error))?;
        }
        if wait_for_end(&init, KILL_GRACE)? {
            return Ok(());
        }
        // On v1 a frozen process does not die, and a container can freeze cgroups beneath its own.
        group.thaw_all().map_err(|error| failed(&error))?;
        if wait_for_end(&init, KILL_LIMIT)? {
            Ok(())
        } else {
            Err(Error::Process("container init still running".into()))
        }
    }

    fn remove_cgroup(&self, force: bool) -> Result<(), Error> {
        let group = self.group();
        match group.delete() {
            // Somebody has been put in from outside: a hook's daemon, for example.
            Err(runc_rs_cgroups::Error::NotRemoved { .. }) if force => {
                kill_all(&group, libc::SIGKILL)?;
                group.thaw_all().map_err(|error| failed(&error))?;
                group.delete()
            }
            // systemd collects a unit whose cgroup is gone.
            Err(runc_rs_cgroups::Error::Systemd { .. } | runc_rs_cgroups::Error::SystemdNotRunning)
                if force && !group.exists() =>
            {
                Ok(())
            }
            result => result,
        }
        .map_err(|error| failed(&error))
    }
}

/// Whether the process ends within the time.
fn wait_for_end(init: &OwnedFd, limit: Duration) -> Result<bool, Error> {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    loop {
        match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => return Ok(ready != 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for the container's end", error)),
        }
    }
}

/// Removes everything of a container whose first process has ended.
fn destroy(
    record: &Record,
    remains: &Remains,
    directory: &Directory,
    lock: Lock,
    force: bool,
) -> Result<Vec<String>, Error> {
    if !record.own_pid_namespace {
        kill_all(&remains.group(), libc::SIGKILL)?;
    }
    remains.remove_cgroup(force)?;
    if let Some(groups) = &record.intel_rdt {
        groups.remove()?;
    }
    directory.remove()?;
    drop(lock);
    // The container is gone, whatever they say of it.
    let state = hook_state(record, Status::Stopped, 0);
    Ok(hooks::run_all("poststop", &record.hooks.poststop, &state))
}
