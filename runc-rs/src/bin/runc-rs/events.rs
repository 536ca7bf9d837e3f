//! `events`: statistics and out-of-memory notices as JSON lines, in runc's layout.

use std::time::Duration;

use runc_rs::{Runtime, Status};
use runc_rs_cgroups::stats::{v1, v2};
use runc_rs_cgroups::{OomNotifier, Stats, oom::OomEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::Failure;
use crate::args::EventsArgs;

/// Prints the statistics once, or again and again with notices until the container ends.
pub(crate) fn events(runtime: &Runtime, args: &EventsArgs) -> Result<(), Failure> {
    let id = &args.id.id;
    let interval = interval(&args.interval)?;
    if runtime.state(id)?.status == Status::Stopped {
        return Err(Failure::new(format!("container with id {id} is not running")));
    }
    let cgroup = runtime.cgroup(id)?;
    let print_stats = || -> Result<(), Failure> {
        let stats = cgroup.stats()?;
        println!("{}", json!({"type": "stats", "id": id, "data": data(&stats)}));
        Ok(())
    };
    if args.stats {
        return print_stats();
    }
    let mut notifier = OomNotifier::new(&cgroup)?;
    let timeout = Timespec {
        tv_sec: interval.as_secs().cast_signed(),
        tv_nsec: interval.subsec_nanos().into(),
    };
    while runtime.state(id)?.status != Status::Stopped {
        match poll(&mut [PollFd::new(&notifier, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => print_stats()?,
            Ok(_) => match notifier.read()? {
                OomEvent::Oom => println!("{}", json!({"type": "oom", "id": id})),
                OomEvent::Gone => break,
                OomEvent::Nothing => {}
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `5s`, `1m`, `100ms`, or plain seconds.
fn interval(text: &str) -> Result<Duration, Failure> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or("");
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| Failure::new(format!("invalid duration {text:?}")))?;
    match number.checked_mul(millis) {
        Some(total) if total > 0 => Ok(Duration::from_millis(total)),
        _ => Err(Failure::new("duration interval must be greater than 0")),
    }
}

fn data(stats: &Stats) -> Value {
    match stats {
        Stats::V1(stats) => data_v1(stats),
        Stats::V2(stats) => data_v2(stats),
    }
}

fn entry(memory: &v1::MemoryEntry) -> Value {
    json!({"limit": memory.limit, "usage": memory.usage, "max": memory.max, "failcnt": memory.failcnt})
}

fn blkio(entries: &[v1::BlkioEntry]) -> Value {
    entries
        .iter()
        .map(|e| json!({"major": e.major, "minor": e.minor, "op": e.op, "value": e.value}))
        .collect()
}

fn data_v1(stats: &v1::Stats) -> Value {
    let cpu = stats.cpu.clone().unwrap_or_default();
    let memory = stats.memory.clone().unwrap_or_default();
    let optional = |memory: &Option<v1::MemoryEntry>| memory.as_ref().map_or_else(|| json!({}), entry);
    let io = stats.blkio.clone().unwrap_or_default();
    json!({
        "cpu": {
            "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.kernel, "user": cpu.user},
            "throttling": {"periods": cpu.periods, "throttledPeriods": cpu.throttled_periods, "throttledTime": cpu.throttled_time},
        },
        "memory": {
            "cache": memory.stat.get("cache").copied().unwrap_or(0),
            "usage": entry(&memory.usage),
            "swap": optional(&memory.swap),
            "kernel": optional(&memory.kernel),
            "kernelTCP": optional(&memory.kernel_tcp),
            "raw": memory.stat,
        },
        "pids": stats.pids.as_ref().map_or_else(|| json!({}), |pids| json!({"current": pids.current, "limit": pids.limit})),
        "blkio": {
            "ioServiceBytesRecursive": blkio(&io.io_service_bytes_recursive),
            "ioServicedRecursive": blkio(&io.io_serviced_recursive),
        },
        "hugetlb": stats.hugetlb.iter().map(|h| (h.page_size.clone(), json!({"usage": h.usage, "max": h.max, "failcnt": h.failcnt}))).collect::<serde_json::Map<_, _>>(),
    })
}

fn data_v2(stats: &v2::Stats) -> Value {
    let cpu = stats.cpu.unwrap_or_default();
    let memory = stats.memory.clone().unwrap_or_default();
    let nanos = |micros: u64| micros.saturating_mul(1000);
    json!({
        "cpu": {
            "usage": {"total": nanos(cpu.usage_usec), "kernel": nanos(cpu.system_usec), "user": nanos(cpu.user_usec)},
            "throttling": {"periods": cpu.nr_periods, "throttledPeriods": cpu.nr_throttled, "throttledTime": nanos(cpu.throttled_usec)},
        },
        "memory": {
            "cache": memory.stat.get("file").copied().unwrap_or(0),
            "usage": {"limit": memory.usage_limit, "usage": memory.usage, "max": memory.max_usage, "failcnt": 0},
            "swap": {"limit": memory.swap_limit, "usage": memory.swap_usage, "max": memory.swap_max_usage, "failcnt": 0},
            "raw": memory.stat,
        },
        "pids": stats.pids.as_ref().map_or_else(|| json!({}), |pids| json!({"current": pids.current, "limit": pids.limit})),
        "hugetlb": stats.hugetlb.iter().map(|h| (h.page_size.clone(), json!({"usage": h.current, "max": h.max, "failcnt": h.failcnt}))).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_as_go_writes_them() {
        assert_eq!(interval("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(interval("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(interval("7").unwrap(), Duration::from_secs(7));
        assert!(interval("0s").is_err() && interval("x").is_err() && interval("5y").is_err());
    }
}
