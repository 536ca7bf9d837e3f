//! `linux.resources` as unit properties (systemd.resource-control(5)): pure data.
//!
//! Only what systemd has a property for; everything is also written to the cgroup's files, in full precision.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::bus::Value;
use super::names::Unit;
use crate::error::{Error, Result};
use crate::plan::{cpu_weight, io_weight, swap_limit};
use crate::{Mode, devices};

/// The kernel's own period of the processor quota, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
/// A processor or memory node above this is a mistake, not a machine.
const MAX_BIT: usize = 1 << 16;

/// One property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name on D-Bus.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    /// A property.
    pub fn new(name: impl Into<String>, value: Value) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }
}

/// What the properties depend on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The layout: v1 has properties of its own.
    pub mode: Mode,
    /// systemd's version.
    pub version: u32,
}

/// The properties that every unit of ours begins with, as runc's have them.
pub fn base(unit: &Unit, mode: Mode, pid: Option<i32>) -> Vec<Property> {
    let flag = |name: &str, value| Property::new(name, Value::Bool(value));
    let title = format!("libcontainer container {}", unit.title);
    let mut properties = vec![Property::new("Description", Value::str(title))];
    if unit.is_slice() {
        // The parent of a slice is in its name; this only has it started.
        let parent = Value::Array("s".to_owned(), vec![Value::str(unit.parent())]);
        properties.push(Property::new("Wants", parent));
    } else {
        properties.push(Property::new("Slice", Value::str(unit.parent())));
        properties.push(flag("Delegate", true));
    }
    if let Some(pid) = pid.and_then(|pid| u32::try_from(pid).ok()) {
        let pids = Value::Array("u".to_owned(), vec![Value::U32(pid)]);
        properties.push(Property::new("PIDs", pids));
    }
    let io = if mode == Mode::V2 {
        "IOAccounting"
    } else {
        "BlockIOAccounting"
    };
    properties.extend(["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map(|name| flag(name, true)));
    properties.push(flag("DefaultDependencies", false));
    properties
}

/// The properties that put `resources` in force.
///
/// # Errors
/// A value that cannot be converted.
pub fn resources(resources: &LinuxResources, target: Target) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    let mut number = |name: &str, value: u64| properties.push(Property::new(name, Value::U64(value)));
    let v2 = target.mode == Mode::V2;
    if let Some(memory) = resources.memory() {
        self::memory(memory, v2)?
            .into_iter()
            .for_each(|(name, value)| number(name, value));
    }
    if let Some(limit) = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|limit| *limit != 0)
    {
        number("TasksMax", u64::try_from(limit).unwrap_or(u64::MAX));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight()).unwrap_or(0);
    match (weight, v2) {
        (0, _) => {}
        (weight, true) => number("IOWeight", io_weight(weight)),
        (weight, false) => number("BlockIOWeight", u64::from(weight)),
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, target)?
            .into_iter()
            .for_each(|property| properties.push(property));
    }
    if let (true, Some(unified)) = (v2, resources.unified()) {
        let sorted: std::collections::BTreeMap<_, _> = unified.iter().collect();
        let idle = sorted.get(&"cpu.idle".to_owned()).is_some_and(|v| v.trim() == "1") && target.version >= 252;
        for (key, value) in sorted {
            properties.extend(unified_property(key, value.trim(), idle, target.version)?);
        }
    }
    if let Some(rules) = resources.devices().as_ref().filter(|rules| !rules.is_empty()) {
        properties.extend(super::devices::properties(&devices::fold(rules)?, target.version));
    }
    Ok(properties)
}

/// -1 is "no limit" in both.
fn bytes(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn memory(memory: &LinuxMemory, v2: bool) -> Result<Vec<(&'static str, u64)>> {
    let mut numbers = Vec::new();
    let limit = memory.limit().unwrap_or(0);
    if limit != 0 {
        numbers.push((if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
    }
    if !v2 {
        return Ok(numbers);
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        numbers.push(("MemoryLow", bytes(reservation)));
    }
    // No swap at all (0) is left to the file: as a property runc does not set it either.
    if let Some(swap) = swap_limit(memory.swap().unwrap_or(0), limit)?.filter(|swap| *swap != 0) {
        numbers.push(("MemorySwapMax", bytes(swap)));
    }
    Ok(numbers)
}

fn cpu(cpu: &LinuxCpu, target: Target) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    let shares = cpu.shares().unwrap_or(0);
    if target.mode == Mode::V2 {
        // A weight of 0 is systemd's word for cpu.idle, and leaves no place for another.
        if cpu.idle() == Some(1) && target.version >= 252 {
            properties.push(Property::new("CPUWeight", Value::U64(0)));
        } else if shares != 0 {
            properties.push(Property::new("CPUWeight", Value::U64(cpu_weight(shares))));
        }
    } else if shares != 0 {
        properties.push(Property::new("CPUShares", Value::U64(shares)));
    }
    properties.extend(quota(
        cpu.quota().unwrap_or(0),
        cpu.period().unwrap_or(0),
        target.version,
    ));
    // systemd has them since 244.
    for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            let bits = list_to_bits(list)?;
            if target.version >= 244 {
                properties.push(Property::new(name, Value::bytes(&bits)));
            }
        }
    }
    Ok(properties)
}

/// The quota in microseconds for each second of time, as systemd has it: in whole percents of a processor, rounded up, so that a
/// child can have what was asked for.
pub fn quota_per_second(quota: u64, period: u64) -> u64 {
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(u64::MAX)
}

fn quota(quota: i64, period: u64, version: u32) -> Vec<Property> {
    let mut properties = Vec::new();
    if period != 0 && version >= 242 {
        properties.push(Property::new("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota != 0 || period != 0 {
        let period = if period == 0 { DEFAULT_PERIOD } else { period };
        let per_second = match u64::try_from(quota) {
            Ok(quota) if quota != 0 => quota_per_second(quota, period),
            _ => u64::MAX,
        };
        properties.push(Property::new("CPUQuotaPerSecUSec", Value::U64(per_second)));
    }
    properties
}

/// The quota as systemd will write it, rounded by [`quota_per_second`]; the file gets the same, or the two would disagree.
pub fn rounded_quota(cpu: &LinuxCpu) -> Option<i64> {
    let quota = u64::try_from(cpu.quota()?).ok().filter(|quota| *quota != 0)?;
    let period = cpu.period().filter(|period| *period != 0).unwrap_or(DEFAULT_PERIOD);
    let rounded = u128::from(quota_per_second(quota, period)) * u128::from(period) / 1_000_000;
    // What overflowed on the way is left as it was.
    i64::try_from(rounded)
        .ok()
        .filter(|rounded| rounded.unsigned_abs() >= quota)
}

/// The property of one key of `linux.resources.unified`; none for what systemd has no word for.
fn unified_property(key: &str, value: &str, idle: bool, version: u32) -> Result<Vec<Property>> {
    let invalid = || Error::Invalid {
        field: "linux.resources.unified",
        reason: format!("unified resource {key:?} value invalid: {value:?}"),
    };
    let number = |text: &str| match text {
        "max" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| invalid()),
    };
    let name = match key {
        "cpu.idle" if idle => return Ok(vec![Property::new("CPUWeight", Value::U64(0))]),
        "cpu.max" => {
            let fields: Vec<&str> = value.split_whitespace().collect();
            let (limit, period) = match fields.as_slice() {
                [limit] => (*limit, DEFAULT_PERIOD),
                [limit, period] => (*limit, number(period)?),
                _ => return Err(invalid()),
            };
            let limit = i64::try_from(number(limit)?).unwrap_or(0);
            return Ok(quota(limit, period, version));
        }
        "cpuset.cpus" | "cpuset.mems" => {
            let bits = list_to_bits(value)?;
            let name = if key == "cpuset.cpus" {
                "AllowedCPUs"
            } else {
                "AllowedMemoryNodes"
            };
            let known = version >= 244;
            return Ok(known
                .then(|| Property::new(name, Value::bytes(&bits)))
                .into_iter()
                .collect());
        }
        // systemd has it for scopes since 253.
        "memory.oom.group" if version >= 253 => {
            let policy = match number(value)? {
                0 => "continue",
                1 => "kill",
                _ => return Ok(Vec::new()),
            };
            return Ok(vec![Property::new("OOMPolicy", Value::str(policy))]);
        }
        "cpu.weight" if !idle => "CPUWeight",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Property::new(name, Value::U64(number(value)?))])
}

/// A list of numbers (`0-3,8`) as a bit set, the lowest eight in the first byte, without zero bytes at the end.
///
/// # Errors
/// [`Error::Invalid`] for another form, or a number above 65,535.
pub fn list_to_bits(list: &str) -> Result<Vec<u8>> {
    let invalid = || Error::Invalid {
        field: "linux.resources.cpu",
        reason: format!("{list:?} is not a list of numbers and ranges"),
    };
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < MAX_BIT);
        let (first, last) = number(first)
            .zip(number(last))
            .filter(|(a, b)| a <= b)
            .ok_or_else(invalid)?;
        bits.resize(bits.len().max(last / 8 + 1), 0_u8);
        for bit in first..=last {
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    if bits.is_empty() { Err(invalid()) } else { Ok(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const V2: Target = Target {
        mode: Mode::V2,
        version: 252,
    };

    fn of(config: serde_json::Value, target: Target) -> Vec<(String, Value)> {
        let properties = resources(&serde_json::from_value(config).unwrap(), target).unwrap();
        properties.into_iter().map(|p| (p.name, p.value)).collect()
    }

    fn u64s(list: &[(&str, u64)]) -> Vec<(String, Value)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), Value::U64(*value)))
            .collect()
    }

    #[test]
    fn limits_have_other_names_on_each_version() {
        let config = json!({
            "memory": {"limit": 1 << 20, "reservation": 1 << 19, "swap": 3 << 20},
            "cpu": {"shares": 1024, "quota": 50_000, "period": 200_000},
            "pids": {"limit": -1}, "blockIO": {"weight": 10}
        });
        let expected = u64s(&[
            ("MemoryMax", 1 << 20),
            ("MemoryLow", 1 << 19),
            ("MemorySwapMax", 2 << 20),
            ("TasksMax", u64::MAX),
            ("IOWeight", 1),
            ("CPUWeight", 100),
            ("CPUQuotaPeriodUSec", 200_000),
            ("CPUQuotaPerSecUSec", 250_000),
        ]);
        assert_eq!(of(config.clone(), V2), expected);
        let old = Target {
            mode: Mode::V1,
            version: 239,
        };
        let expected = u64s(&[
            ("MemoryLimit", 1 << 20),
            ("TasksMax", u64::MAX),
            ("BlockIOWeight", 10),
            ("CPUShares", 1024),
            ("CPUQuotaPerSecUSec", 250_000),
        ]);
        assert_eq!(of(config, old), expected);
    }

    #[test]
    fn quotas_are_rounded_up_to_a_percent() {
        assert_eq!(quota_per_second(33_333, 100_000), 340_000);
        assert_eq!(
            of(json!({"cpu": {"quota": -1}}), V2),
            u64s(&[("CPUQuotaPerSecUSec", u64::MAX)])
        );
        let cpu = |quota: i64, period: u64| serde_json::from_value(json!({"quota": quota, "period": period})).unwrap();
        assert_eq!(rounded_quota(&cpu(33_333, 100_000)), Some(34_000));
        assert_eq!(rounded_quota(&cpu(50_000, 100_000)), Some(50_000));
        assert_eq!(rounded_quota(&cpu(-1, 100_000)), None);
        assert_eq!(rounded_quota(&cpu(i64::MAX, 1)), None);
    }

    #[test]
    fn idle_leaves_no_weight() {
        assert_eq!(
            of(json!({"cpu": {"idle": 1, "shares": 512}}), V2),
            u64s(&[("CPUWeight", 0)])
        );
        let unified = json!({"unified": {"cpu.idle": "1", "cpu.weight": "7"}});
        assert_eq!(of(unified, V2), u64s(&[("CPUWeight", 0)]));
    }

    #[test]
    fn unified_keys_that_systemd_knows() {
        let unified = json!({"unified": {
            "memory.high": "max", "pids.max": "7", "cpu.max": "max 50000", "io.latency": "8:0 target=10", "cpuset.cpus": "0,9"
        }});
        let mut expected = u64s(&[("CPUQuotaPeriodUSec", 50_000), ("CPUQuotaPerSecUSec", u64::MAX)]);
        expected.push(("AllowedCPUs".into(), Value::bytes(&[1, 2])));
        expected.extend(u64s(&[("MemoryHigh", u64::MAX), ("TasksMax", 7)]));
        assert_eq!(of(unified, V2), expected);
        let wrong = serde_json::from_value(json!({"unified": {"cpu.max": "1 2 3"}})).unwrap();
        assert!(resources(&wrong, V2).is_err());
    }

    #[test]
    fn lists_become_bits() {
        assert_eq!(list_to_bits("0-3").unwrap(), [0x0f]);
        assert_eq!(list_to_bits("4-7").unwrap(), [0xf0]);
        assert_eq!(list_to_bits("16, 8-9,0").unwrap(), [1, 3, 1]);
        for wrong in ["", "a", "3-1", "0-70000", "1-", "-1"] {
            assert!(list_to_bits(wrong).is_err(), "{wrong}");
        }
    }
}
