//! Usage in the layout of `runc events`: zeros are left out where runc leaves them out.

use runc_rs_cgroups::Stats;
use runc_rs_cgroups::stats::{CpuSet, PerCpu, Pids, v1, v2};
use serde_json::{Map, Value, json};

/// The `data` of a `stats` event. `cpuset` and `per_cpu` are v1's.
pub(crate) fn data(stats: &Stats, cpuset: Option<&CpuSet>, per_cpu: &PerCpu) -> Value {
    let mut data = match stats {
        Stats::V1(stats) => data_v1(stats, per_cpu),
        Stats::V2(stats) => data_v2(stats),
    };
    let set = cpuset.cloned().unwrap_or_default();
    put(&mut data, "cpuset", cpuset_value(&set));
    put(&mut data, "intel_rdt", json!({}));
    put(&mut data, "network_interfaces", Value::Null);
    data
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// An object of the numbers that are not zero.
fn sparse<const N: usize>(numbers: [(&str, u64); N]) -> Value {
    let kept = numbers.into_iter().filter(|(_, number)| *number != 0);
    kept.map(|(key, number)| (key.to_owned(), Value::from(number)))
        .collect::<Map<_, _>>()
        .into()
}

/// With numbers that are told even when they are zero.
fn with<const N: usize>(mut object: Value, numbers: [(&str, u64); N]) -> Value {
    for (key, number) in numbers {
        put(&mut object, key, number.into());
    }
    object
}

fn memory_entry(limit: u64, usage: u64, max: u64, failcnt: u64) -> Value {
    with(
        sparse([("usage", usage), ("max", max)]),
        [("limit", limit), ("failcnt", failcnt)],
    )
}

fn pids(pids: Option<&Pids>) -> Value {
    let pids = pids.copied().unwrap_or_default();
    sparse([("current", pids.current), ("limit", pids.limit)])
}

fn cpuset_value(set: &CpuSet) -> Value {
    let mut value = json!({
        "cpu_exclusive": set.cpu_exclusive,
        "mem_hardwall": set.mem_hardwall,
        "mem_exclusive": set.mem_exclusive,
        "memory_migrate": set.memory_migrate,
        "memory_spread_page": set.memory_spread_page,
        "memory_spread_slab": set.memory_spread_slab,
        "memory_pressure": set.memory_pressure,
        "sched_load_balance": set.sched_load_balance,
        "sched_relax_domain_level": set.sched_relax_domain_level,
    });
    put_list(&mut value, "cpus", &set.cpus);
    put_list(&mut value, "mems", &set.mems);
    value
}

/// A list, left out when it is empty.
fn put_list<T: serde::Serialize>(object: &mut Value, key: &str, list: &[T]) {
    if !list.is_empty() {
        put(object, key, json!(list));
    }
}

fn data_v1(stats: &v1::Stats, per_cpu: &PerCpu) -> Value {
    let cpu = stats.cpu.clone().unwrap_or_default();
    let mut usage = with(
        sparse([("total", cpu.total)]),
        [("kernel", cpu.kernel), ("user", cpu.user)],
    );
    put_list(&mut usage, "percpu", &cpu.per_cpu);
    put_list(&mut usage, "percpu_kernel", &per_cpu.kernel);
    put_list(&mut usage, "percpu_user", &per_cpu.user);
    let throttling = [
        ("periods", cpu.periods),
        ("throttledPeriods", cpu.throttled_periods),
        ("throttledTime", cpu.throttled_time),
    ];
    let hugetlb = stats.hugetlb.iter().map(|h| {
        let numbers = with(sparse([("usage", h.usage), ("max", h.max)]), [("failcnt", h.failcnt)]);
        (h.page_size.clone(), numbers)
    });
    json!({
        "cpu": {"usage": usage, "throttling": sparse(throttling)},
        "memory": memory_v1(&stats.memory.clone().unwrap_or_default()),
        "pids": pids(stats.pids.as_ref()),
        "blkio": blkio_v1(&stats.blkio.clone().unwrap_or_default()),
        "hugetlb": hugetlb.collect::<Map<_, _>>(),
    })
}

fn memory_v1(memory: &v1::Memory) -> Value {
    let entry = |entry: Option<&v1::MemoryEntry>| {
        let entry = entry.copied().unwrap_or_default();
        memory_entry(entry.limit, entry.usage, entry.max, entry.failcnt)
    };
    let mut value = sparse([("cache", memory.stat.get("cache").copied().unwrap_or(0))]);
    put(&mut value, "usage", entry(Some(&memory.usage)));
    put(&mut value, "swap", entry(memory.swap.as_ref()));
    put(&mut value, "kernel", entry(memory.kernel.as_ref()));
    put(&mut value, "kernelTCP", entry(memory.kernel_tcp.as_ref()));
    if !memory.stat.is_empty() {
        put(&mut value, "raw", json!(memory.stat));
    }
    value
}

fn blkio_entry(major: u64, minor: u64, op: &str, number: u64) -> Value {
    let mut value = sparse([("major", major), ("minor", minor), ("value", number)]);
    if !op.is_empty() {
        put(&mut value, "op", op.into());
    }
    value
}

fn blkio_v1(io: &v1::Blkio) -> Value {
    let mut value = json!({});
    for (key, entries) in [
        ("ioServiceBytesRecursive", &io.io_service_bytes_recursive),
        ("ioServicedRecursive", &io.io_serviced_recursive),
        ("ioQueueRecursive", &io.io_queued_recursive),
        ("ioServiceTimeRecursive", &io.io_service_time_recursive),
        ("ioWaitTimeRecursive", &io.io_wait_time_recursive),
        ("ioMergedRecursive", &io.io_merged_recursive),
        ("ioTimeRecursive", &io.io_time_recursive),
        ("sectorsRecursive", &io.sectors_recursive),
    ] {
        let entries: Vec<Value> = entries
            .iter()
            .map(|e| blkio_entry(e.major, e.minor, &e.op, e.value))
            .collect();
        put_list(&mut value, key, &entries);
    }
    value
}

fn data_v2(stats: &v2::Stats) -> Value {
    let cpu = stats.cpu.unwrap_or_default();
    let nanos = |micros: u64| micros.saturating_mul(1000);
    let usage = with(
        sparse([("total", nanos(cpu.usage_usec))]),
        [("kernel", nanos(cpu.system_usec)), ("user", nanos(cpu.user_usec))],
    );
    let throttling = [
        ("periods", cpu.nr_periods),
        ("throttledPeriods", cpu.nr_throttled),
        ("throttledTime", nanos(cpu.throttled_usec)),
    ];
    let mut cpu = json!({"usage": usage, "throttling": sparse(throttling)});
    put_pressure(&mut cpu, stats.cpu_pressure.as_ref());
    let hugetlb = stats.hugetlb.iter().map(|h| {
        (
            h.page_size.clone(),
            with(sparse([("usage", h.current)]), [("failcnt", h.failcnt)]),
        )
    });
    json!({
        "cpu": cpu,
        "memory": memory_v2(stats),
        "pids": pids(stats.pids.as_ref()),
        "blkio": blkio_v2(stats),
        "hugetlb": hugetlb.collect::<Map<_, _>>(),
    })
}

fn put_pressure(object: &mut Value, pressure: Option<&v2::Pressure>) {
    if let Some(pressure) = pressure {
        put(object, "psi", json!({"some": pressure.some, "full": pressure.full}));
    }
}

/// Swap is told together with memory, as v1 has it.
fn memory_v2(stats: &v2::Stats) -> Value {
    let memory = stats.memory.clone().unwrap_or_default();
    let swap_limit = memory.swap_limit.saturating_add(memory.usage_limit);
    let swap_usage = memory.swap_usage.saturating_add(memory.usage);
    let mut value = sparse([("cache", memory.stat.get("file").copied().unwrap_or(0))]);
    put(
        &mut value,
        "usage",
        memory_entry(memory.usage_limit, memory.usage, memory.max_usage, 0),
    );
    put(
        &mut value,
        "swap",
        memory_entry(swap_limit, swap_usage, memory.swap_max_usage, 0),
    );
    put(&mut value, "kernel", memory_entry(0, 0, 0, 0));
    put(&mut value, "kernelTCP", memory_entry(0, 0, 0, 0));
    if !memory.stat.is_empty() {
        put(&mut value, "raw", json!(memory.stat));
    }
    if !stats.memory_events.is_empty() {
        put(&mut value, "event_count", json!(stats.memory_events));
    }
    put_pressure(&mut value, stats.memory_pressure.as_ref());
    value
}

fn blkio_v2(stats: &v2::Stats) -> Value {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for io in &stats.io {
        let entry = |op: &str, number: u64| blkio_entry(io.major, io.minor, op, number);
        bytes.extend([entry("Read", io.rbytes), entry("Write", io.wbytes)]);
        operations.extend([entry("Read", io.rios), entry("Write", io.wios)]);
    }
    let mut value = json!({});
    put_list(&mut value, "ioServiceBytesRecursive", &bytes);
    put_list(&mut value, "ioServicedRecursive", &operations);
    put_pressure(&mut value, stats.io_pressure.as_ref());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_where_runc_leaves_them_out() {
        let v1 = Stats::V1(Box::new(v1::Stats {
            blkio: Some(v1::Blkio {
                io_serviced_recursive: vec![v1::BlkioEntry {
                    major: 8,
                    op: "Read".into(),
                    value: 3,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }));
        let value = data(&v1, None, &PerCpu::default());
        assert_eq!(
            value["cpu"],
            json!({"usage": {"kernel": 0, "user": 0}, "throttling": {}})
        );
        assert_eq!(
            value["blkio"],
            json!({"ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}]})
        );
        assert_eq!(value["memory"]["usage"], json!({"limit": 0, "failcnt": 0}));
        assert_eq!(value["pids"], json!({}));
        assert_eq!(value["network_interfaces"], Value::Null);
        assert_eq!(value["cpuset"]["sched_load_balance"], 0);
    }

    #[test]
    fn v2_is_told_in_the_terms_of_v1() {
        let v2 = Stats::V2(Box::new(v2::Stats {
            cpu: Some(v2::Cpu {
                usage_usec: 5,
                nr_throttled: 2,
                ..Default::default()
            }),
            memory: Some(v2::Memory {
                usage: 100,
                usage_limit: 1000,
                swap_usage: 10,
                swap_limit: u64::MAX,
                ..Default::default()
            }),
            io: vec![v2::Io {
                major: 8,
                rbytes: 512,
                rios: 1,
                ..Default::default()
            }],
            cpu_pressure: Some(v2::Pressure::default()),
            ..Default::default()
        }));
        let value = data(&v2, None, &PerCpu::default());
        assert_eq!(value["cpu"]["usage"], json!({"total": 5000, "kernel": 0, "user": 0}));
        assert_eq!(value["cpu"]["throttling"], json!({"throttledPeriods": 2}));
        assert_eq!(value["cpu"]["psi"]["some"]["total"], 0);
        assert_eq!(
            value["memory"]["swap"],
            json!({"limit": u64::MAX, "usage": 110, "failcnt": 0})
        );
        assert_eq!(
            value["blkio"]["ioServiceBytesRecursive"][0],
            json!({"major": 8, "op": "Read", "value": 512})
        );
    }
}
