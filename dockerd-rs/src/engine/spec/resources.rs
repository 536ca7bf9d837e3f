//! Limits of a container, as the runtime takes them.

use std::os::unix::fs::MetadataExt;

use runtime_spec::engine;
use serde_json::{Map, Value, json};

use super::Input;
use crate::engine::model::Resources;
use crate::error::{Error, Result};

/// Microseconds of the period that `NanoCpus` are a share of.
const PERIOD: i64 = 100_000;

/// Limits and device rules of a new container.
pub(super) fn all(input: &Input<'_>) -> Result<Value> {
    let host_config = &input.record.host_config;
    let mut value = resources(&host_config.resources)?;
    let mut rules: Vec<Value> = if host_config.privileged {
        engine::privileged_device_rules()
            .iter()
            .map(|rule| json!(rule))
            .collect()
    } else {
        engine::default_device_rules().iter().map(|rule| json!(rule)).collect()
    };
    if !host_config.privileged {
        for given in input.devices {
            let device = &given.device;
            rules.push(json!({"allow": true, "type": device.kind, "major": device.major, "minor": device.minor, "access": given.access}));
        }
        for rule in host_config.resources.device_cgroup_rules.iter().flatten() {
            rules.push(parse_rule(rule)?);
        }
    }
    value["devices"] = rules.into();
    Ok(value)
}

/// Limits alone: what an update sends. Zero is "not said".
pub(crate) fn resources(resources: &Resources) -> Result<Value> {
    let mut all = Map::new();
    let mut put = |key: &str, value: Map<String, Value>| {
        if !value.is_empty() {
            all.insert(key.to_owned(), Value::Object(value));
        }
    };
    put("memory", memory(resources));
    put("cpu", cpu(resources));
    put("blockIO", block_io(resources)?);
    if let Some(limit) = resources.pids_limit.filter(|limit| *limit != 0) {
        put("pids", Map::from_iter([("limit".to_owned(), json!(limit))]));
    }
    Ok(Value::Object(all))
}

fn memory(resources: &Resources) -> Map<String, Value> {
    let mut memory = Map::new();
    for (key, value) in [
        ("limit", resources.memory),
        ("reservation", resources.memory_reservation),
        ("swap", resources.memory_swap),
    ] {
        if value != 0 {
            memory.insert(key.to_owned(), json!(value));
        }
    }
    if let Some(swappiness) = resources.memory_swappiness.filter(|value| *value >= 0) {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    if resources.oom_kill_disable == Some(true) {
        memory.insert("disableOOMKiller".to_owned(), json!(true));
    }
    memory
}

fn cpu(resources: &Resources) -> Map<String, Value> {
    let mut cpu = Map::new();
    if resources.cpu_shares > 0 {
        cpu.insert("shares".to_owned(), json!(resources.cpu_shares));
    }
    if resources.nano_cpus > 0 {
        cpu.insert("period".to_owned(), json!(PERIOD));
        cpu.insert(
            "quota".to_owned(),
            json!(resources.nano_cpus / (1_000_000_000 / PERIOD)),
        );
    }
    if resources.cpu_period != 0 {
        cpu.insert("period".to_owned(), json!(resources.cpu_period));
    }
    if resources.cpu_quota != 0 {
        cpu.insert("quota".to_owned(), json!(resources.cpu_quota));
    }
    if resources.cpu_realtime_period != 0 {
        cpu.insert("realtimePeriod".to_owned(), json!(resources.cpu_realtime_period));
    }
    if resources.cpu_realtime_runtime != 0 {
        cpu.insert("realtimeRuntime".to_owned(), json!(resources.cpu_realtime_runtime));
    }
    for (key, value) in [("cpus", &resources.cpuset_cpus), ("mems", &resources.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.to_owned(), json!(value));
        }
    }
    cpu
}

fn block_io(resources: &Resources) -> Result<Map<String, Value>> {
    let mut io = Map::new();
    if resources.blkio_weight != 0 {
        io.insert("weight".to_owned(), json!(resources.blkio_weight));
    }
    let weights = resources.blkio_weight_device.iter().flatten().map(|given| {
        let (major, minor) = numbers(&given.path)?;
        Ok(json!({"major": major, "minor": minor, "weight": given.weight}))
    });
    let weights = weights.collect::<Result<Vec<_>>>()?;
    if !weights.is_empty() {
        io.insert("weightDevice".to_owned(), weights.into());
    }
    let rates = [
        ("throttleReadBpsDevice", &resources.blkio_device_read_bps),
        ("throttleWriteBpsDevice", &resources.blkio_device_write_bps),
        ("throttleReadIOPSDevice", &resources.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", &resources.blkio_device_write_iops),
    ];
    for (key, devices) in rates {
        let given = devices.iter().flatten().map(|given| {
            let (major, minor) = numbers(&given.path)?;
            Ok(json!({"major": major, "minor": minor, "rate": given.rate}))
        });
        let given = given.collect::<Result<Vec<_>>>()?;
        if !given.is_empty() {
            io.insert(key.to_owned(), given.into());
        }
    }
    Ok(io)
}

/// Numbers of a block device.
fn numbers(path: &str) -> Result<(u32, u32)> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::failed(format!("block device {path}"), e))?;
    Ok((rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())))
}

/// `c 10:200 rwm` of `--device-cgroup-rule`.
fn parse_rule(rule: &str) -> Result<Value> {
    let wrong = || Error::invalid(format!("invalid device cgroup rule format: '{rule}'"));
    let mut parts = rule.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(-1),
        _ => text.parse::<i64>().map_err(|_| wrong()),
    };
    if !matches!(kind, "a" | "b" | "c") || access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(wrong());
    }
    Ok(json!({"allow": true, "type": kind, "major": number(major)?, "minor": number(minor)?, "access": access}))
}
