//! `events`: statistics and out-of-memory notices as JSON lines, in runc's layout.

use std::time::{Duration, Instant};

use runc_rs::{Runtime, Status};
use runc_rs_cgroups::{Cgroup, OomNotifier, oom::OomEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::stats::data;
use crate::Failure;
use crate::grammar::{Command, Count, Flag, Kind};
use crate::invocation::Invocation;
use crate::output::json_line;

pub(crate) const COMMAND: Command = Command {
    name: "events",
    usage: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    arguments: "<container-id>

Where \"<container-id>\" is the name of the container.",
    description: "Prints one JSON object a line: the container's usage every five seconds, or every --interval, and each time that it
runs out of memory; until the container ends.",
    flags: &[
        Flag::new("interval", Kind::Duration, "set the stats collection interval").default("5s"),
        Flag::switch("stats", "display the container's stats then exit"),
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: false,
    run: events,
};

fn events(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    let status = runtime.state(id)?.status;
    let interval = invocation.values.duration("interval").unwrap_or(Duration::from_secs(5));
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    if status == Status::Stopped {
        return Err(Failure::new(format!("container with id {id} is not running")));
    }
    let cgroup = runtime.cgroup(id)?;
    if invocation.values.switch("stats") {
        json_line(&usage(id, &cgroup)?)?;
    } else {
        invocation.warn_of_cgroups("getting OOM notifications")?;
        if cgroup.paths().is_empty() {
            return Err(Failure::new("memory controller missing"));
        }
        watch(invocation, &runtime, &cgroup, interval)?;
    }
    Ok(0)
}

fn usage(id: &str, cgroup: &Cgroup) -> Result<Value, Failure> {
    let stats = cgroup.stats()?;
    let data = data(&stats, cgroup.cpuset_stats()?.as_ref(), &cgroup.per_cpu_stats()?);
    Ok(json!({"type": "stats", "id": id, "data": data}))
}

/// Prints usage and notices until the container has ended or is gone.
fn watch(invocation: &Invocation, runtime: &Runtime, cgroup: &Cgroup, interval: Duration) -> Result<(), Failure> {
    let id = invocation.id()?;
    let mut notifier = OomNotifier::new(cgroup)?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&notifier, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => match notifier.read()? {
                OomEvent::Oom => json_line(&json!({"type": "oom", "id": id}))?,
                OomEvent::Gone => return Ok(()),
                OomEvent::Nothing => {}
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() < next {
            continue;
        }
        next += interval;
        match runtime.state(id) {
            Ok(state) if state.status != Status::Stopped => match usage(id, cgroup) {
                Ok(usage) => json_line(&usage)?,
                // The next look may do better.
                Err(failure) => invocation.log.error(&failure.message),
            },
            Ok(_) | Err(runc_rs::Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
