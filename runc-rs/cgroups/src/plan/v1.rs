//! File names and conversions of v1 (Linux: Documentation/admin-guide/cgroup-v1).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{Current, Interface, Write};

fn write(controller: &str, file: &str, value: impl ToString) -> Write {
    Write::new(Interface::V1, controller, file, value)
}

/// The cpu controller. A period smaller than the present one can be refused until the quota was lowered, and a burst until there is
/// a quota at all: both may be tried again.
pub(super) fn cpu(cpu: &LinuxCpu) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|p| *p != 0) {
        writes.push(write("cpu", "cpu.rt_period_us", period).again());
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|r| *r != 0) {
        writes.push(write("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(shares) = cpu.shares().filter(|s| *s != 0) {
        writes.push(write("cpu", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|p| *p != 0) {
        writes.push(write("cpu", "cpu.cfs_period_us", period).again());
    }
    if let Some(quota) = cpu.quota().filter(|q| *q != 0) {
        writes.push(write("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst() {
        let burst = write("cpu", "cpu.cfs_burst_us", burst).again();
        writes.push(if burst.value == "0" {
            burst.skip_missing()
        } else {
            burst
        });
    }
    if let Some(idle) = cpu.idle() {
        writes.push(write("cpu", "cpu.idle", idle));
    }
    writes
}

/// The memory controller. Kernel memory limits are ignored as runc does: the kernel took them away.
pub(super) fn memory(memory: &LinuxMemory, current: Current) -> Vec<Write> {
    let limit = memory.limit().unwrap_or(0);
    // "No memory limit" means no swap limit either, unless one was asked for.
    let implied = limit == -1 && memory.swap().unwrap_or(0) == 0;
    let swap = if implied { -1 } else { memory.swap().unwrap_or(0) };
    let mut writes = Vec::new();
    let limit_write = write("memory", "memory.limit_in_bytes", limit);
    let swap_write = write("memory", "memory.memsw.limit_in_bytes", swap);
    let swap_write = if swap == -1 {
        swap_write.skip_missing()
    } else {
        swap_write
    };
    // memory+swap may never be below memory, in between the two writes neither.
    let swap_first = swap == -1 || u64::try_from(swap).is_ok_and(|s| current.memory_limit < s);
    match (limit != 0, swap != 0) {
        (true, true) if swap_first => writes.extend([swap_write, limit_write]),
        (true, true) => writes.extend([limit_write, swap_write]),
        (true, false) => writes.push(limit_write),
        (false, true) => writes.push(swap_write),
        (false, false) => {}
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        writes.push(write("memory", "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|r| *r != 0) {
        writes.push(write("memory", "memory.kmem.tcp.limit_in_bytes", tcp));
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.push(write("memory", "memory.oom_control", 1));
    }
    if let Some(swappiness) = memory.swappiness() {
        writes.push(write("memory", "memory.swappiness", swappiness));
    }
    writes
}

/// The blkio controller. The weight lives in one of two files, by the I/O scheduler that the kernel was built with.
pub(super) fn blkio(io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        writes.push(write("blkio", "blkio.weight", weight).or_use("blkio.bfq.weight", weight));
    }
    if let Some(weight) = io.leaf_weight().filter(|w| *w != 0) {
        writes.push(write("blkio", "blkio.leaf_weight", weight));
    }
    for device in io.weight_device().iter().flatten() {
        let (major, minor) = (device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|w| *w != 0) {
            let value = format!("{major}:{minor} {weight}");
            writes.push(write("blkio", "blkio.weight_device", &value).or_use("blkio.bfq.weight_device", &value));
        }
        if let Some(weight) = device.leaf_weight().filter(|w| *w != 0) {
            writes.push(write(
                "blkio",
                "blkio.leaf_weight_device",
                format!("{major}:{minor} {weight}"),
            ));
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
    ];
    for (file, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.push(write("blkio", file, value));
        }
    }
    writes
}
