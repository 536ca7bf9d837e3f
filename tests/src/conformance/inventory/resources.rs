//! config-linux.md: resources, by controller.

use super::runtime::AUTHOR;
use crate::conformance::must::Must;
use crate::must;

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("linux.device-rules.order", "config-linux.md#allowed-device-list", "device rules apply in the order of the list", resources::device_rules),
    must!("linux.device-rules.access", "config-linux.md#allowed-device-list", "type, major, minor and access of a rule say what it is about", resources::device_rules),
    must!("linux.memory.limit", "config-linux.md#memory", "memory.limit", resources::memory),
    must!("linux.memory.reservation", "config-linux.md#memory", "memory.reservation", resources::memory),
    must!("linux.memory.swap", "config-linux.md#memory", "memory.swap, which is memory and swap together", resources::memory),
    must!("linux.memory.unlimited", "config-linux.md#memory", "-1 is no limit", resources::memory_unlimited),
    must!("linux.memory.v1-only", "config-linux.md#memory", "memory.swappiness and disableOOMKiller of cgroup v1", resources::memory_v1),
    must!("linux.memory.check-before-update", "config-linux.md#memory", "with checkBeforeUpdate a limit below the usage is refused", resources::check_before_update),
    must!("linux.cpu.shares", "config-linux.md#cpu", "cpu.shares, as cgroup v2 converts it", resources::cpu),
    must!("linux.cpu.quota", "config-linux.md#cpu", "cpu.quota and cpu.period", resources::cpu),
    must!("linux.cpu.burst", "config-linux.md#cpu", "cpu.burst is put in force", resources::cpu_burst),
    must!("linux.cpu.burst-limit", "config-linux.md#cpu", "quota is not smaller than burst: else an error", resources::cpu_burst),
    must!("linux.cpu.idle", "config-linux.md#cpu", "cpu.idle is put in force", resources::cpu_idle),
    must!("linux.cpu.realtime", "config-linux.md#cpu", "cpu.realtimeRuntime and realtimePeriod", resources::cpu_realtime),
    must!("linux.cpu.sets", "config-linux.md#cpu", "cpu.cpus and cpu.mems", resources::cpu_sets),
    must!("linux.block-io.weight", "config-linux.md#block-io", "blockIO.weight", resources::block_io),
    must!("linux.block-io.throttle", "config-linux.md#block-io", "blockIO: bytes and operations per second and device", resources::block_io),
    must!("linux.block-io.weight-device", "config-linux.md#block-io", "an entry of weightDevice has a weight or a leafWeight", not AUTHOR),
    must!("linux.hugepages", "config-linux.md#huge-page-limits", "hugepageLimits", resources::hugepages),
    must!("linux.network", "config-linux.md#network", "network.classID and priorities", resources::network),
    must!("linux.pids", "config-linux.md#pids", "pids.limit, and -1 for none", resources::pids),
    must!("linux.rdma", "config-linux.md#rdma", "rdma: at least one limit for each device", not AUTHOR),
    must!("linux.rdma.limits", "config-linux.md#rdma", "rdma: handles and objects by device", not "needs an RDMA device: neither the test machine nor a guest has one"),
];
