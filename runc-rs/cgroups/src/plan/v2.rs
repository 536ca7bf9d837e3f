//! File names and conversions of v2 (Linux: Documentation/admin-guide/cgroup-v2.rst; the conversions from v1 terms are those of
//! the OCI runtime spec's implementers).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{Interface, Write};
use crate::error::{Error, Result};

fn write(controller: &str, file: &str, value: impl ToString) -> Write {
    Write::new(Interface::V2, controller, file, value)
}

/// `cpu.weight` (1 to 10,000, default 100) for v1's shares (2 to 262,144, default 1,024): the quadratic in the exponent that maps the
/// ends and the defaults onto each other, as runc 1.4 and crun 1.23 do. Zero shares mean "not set" and give 0.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// `io.weight` (1 to 10,000) for v1's blkio weight (10 to 1,000); 0 means "not set".
pub fn io_weight(weight: u16) -> u64 {
    match weight {
        0 => 0,
        _ => 1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990,
    }
}

/// `memory.swap.max` from v1's memory+swap limit: `None` for not set, -1 for no limit, else bytes of swap alone.
///
/// # Errors
/// A memory+swap limit without a memory limit, or below it.
pub fn swap_limit(memory_and_swap: i64, memory: i64) -> Result<Option<i64>> {
    let invalid = |reason: &str| Error::Invalid {
        field: "linux.resources.memory.swap",
        reason: reason.to_owned(),
    };
    match (memory_and_swap, memory) {
        (0, -1) | (-1, _) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (_, 0 | -1) => Err(invalid("unable to set swap limit without memory limit")),
        (_, memory) if memory < 0 => Err(invalid(&format!("invalid memory value: {memory}"))),
        (both, memory) if both < memory => Err(invalid("memory+swap limit should be >= memory limit")),
        (both, memory) => Ok(Some(both - memory)),
    }
}

fn or_max(value: i64) -> String {
    if value == -1 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

/// The cpu controller. `cpu.idle` goes first: an idle group refuses a weight.
pub(super) fn cpu(cpu: &LinuxCpu) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(idle) = cpu.idle() {
        writes.push(write("cpu", "cpu.idle", idle));
    }
    let weight = cpu_weight(cpu.shares().unwrap_or(0));
    if weight != 0 {
        let weight = write("cpu", "cpu.weight", weight);
        writes.push(if cpu.idle() == Some(1) {
            weight.skip_missing()
        } else {
            weight
        });
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if let Some(burst) = cpu.burst() {
        let burst = write("cpu", "cpu.max.burst", burst).again();
        writes.push(if burst.value == "0" {
            burst.skip_missing()
        } else {
            burst
        });
    }
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { 100_000 } else { period };
        writes.push(write("cpu", "cpu.max", format!("{quota} {period}")));
    }
    writes
}

/// The memory controller. There is no swappiness and no OOM switch per group; both are ignored, as runc does.
pub(super) fn memory(memory: &LinuxMemory) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let limit = memory.limit().unwrap_or(0);
    if let Some(swap) = swap_limit(memory.swap().unwrap_or(0), limit)? {
        let swap = write("memory", "memory.swap.max", or_max(swap));
        // Without swap accounting, "no swap" and "no limit" are what the kernel does anyway.
        writes.push(if matches!(swap.value.as_str(), "max" | "0") {
            swap.skip_missing()
        } else {
            swap
        });
    }
    if limit != 0 {
        writes.push(write("memory", "memory.max", or_max(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        writes.push(write("memory", "memory.low", or_max(reservation)));
    }
    Ok(writes)
}

/// The io controller.
pub(super) fn io(io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        writes.push(write("io", "io.bfq.weight", weight).or_use("io.weight", io_weight(weight)));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|w| *w != 0) {
            let device = format!("{}:{}", device.major(), device.minor());
            let converted = format!("{device} {}", io_weight(weight));
            writes.push(write("io", "io.bfq.weight", format!("{device} {weight}")).or_use("io.weight", converted));
        }
    }
    let throttles = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 {
                "max".to_owned()
            } else {
                device.rate().to_string()
            };
            writes.push(write(
                "io",
                "io.max",
                format!("{}:{} {key}={rate}", device.major(), device.minor()),
            ));
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weights_meet_at_the_ends_and_the_defaults() {
        let pairs = [
            (0, 0),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (1 << 40, 10_000),
            (1, 1),
        ];
        for (shares, weight) in pairs {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        assert_eq!(swap_limit(300, 100).unwrap(), Some(200));
        assert_eq!(swap_limit(100, 100).unwrap(), Some(0));
        assert_eq!(swap_limit(-1, 100).unwrap(), Some(-1));
        assert_eq!(swap_limit(0, -1).unwrap(), Some(-1));
        assert_eq!(swap_limit(0, 100).unwrap(), None);
        assert!(swap_limit(50, 100).is_err());
        assert!(swap_limit(50, 0).is_err());
    }
}
