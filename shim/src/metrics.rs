//! Usage of a control group in containerd's `Metrics` messages.

use std::collections::BTreeMap;

use containerd_proto::io::containerd::cgroups::{v1 as out1, v2 as out2};
use prost_types::Any;
use runc_rs_cgroups::Stats;
use runc_rs_cgroups::stats::{self, v1, v2};

/// Packs the usage as the message of its layout.
pub(crate) fn pack(stats: &Stats) -> Any {
    match stats {
        Stats::V1(stats) => containerd_proto::pack(&metrics_v1(stats)),
        Stats::V2(stats) => containerd_proto::pack(&metrics_v2(stats)),
    }
}

/// A message of whose fields each is a counter of the same name in a map; missing ones are 0.
macro_rules! from_map {
    ($map:expr, $kind:path { $($field:ident),* $(,)? } $($rest:tt)*) => {{
        let map: &BTreeMap<String, u64> = $map;
        let value = |name: &str| map.get(name).copied().unwrap_or(0);
        $kind { $($field: value(stringify!($field)),)* $($rest)* }
    }};
}

fn metrics_v1(stats: &v1::Stats) -> out1::Metrics {
    let hugetlb = |h: &v1::Hugetlb| out1::HugetlbStat {
        usage: h.usage,
        max: h.max,
        failcnt: h.failcnt,
        pagesize: h.page_size.clone(),
    };
    let rdma = |r: &stats::Rdma| out1::RdmaEntry {
        device: r.device.clone(),
        hca_handles: r.hca_handles,
        hca_objects: r.hca_objects,
    };
    let has_rdma = !stats.rdma_current.is_empty() || !stats.rdma_limit.is_empty();
    out1::Metrics {
        hugetlb: stats.hugetlb.iter().map(hugetlb).collect(),
        pids: stats.pids.map(|p| out1::PidsStat {
            current: p.current,
            limit: p.limit,
        }),
        cpu: stats.cpu.as_ref().map(cpu_v1),
        memory: stats.memory.as_ref().map(memory_v1),
        blkio: stats.blkio.as_ref().map(blkio),
        rdma: has_rdma.then(|| out1::RdmaStat {
            current: stats.rdma_current.iter().map(rdma).collect(),
            limit: stats.rdma_limit.iter().map(rdma).collect(),
        }),
        network: Vec::new(),
        cgroup_stats: None,
        memory_oom_control: stats.memory.as_ref().map(|m| out1::MemoryOomControl {
            oom_kill_disable: u64::from(m.oom_kill_disable),
            under_oom: u64::from(m.under_oom),
            oom_kill: m.oom_kill,
        }),
    }
}

fn cpu_v1(cpu: &v1::Cpu) -> out1::CpuStat {
    out1::CpuStat {
        usage: Some(out1::CpuUsage {
            total: cpu.total,
            kernel: cpu.kernel,
            user: cpu.user,
            per_cpu: cpu.per_cpu.clone(),
        }),
        throttling: Some(out1::Throttle {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        }),
    }
}

fn memory_v1(memory: &v1::Memory) -> out1::MemoryStat {
    let entry = |e: &v1::MemoryEntry| out1::MemoryEntry {
        limit: e.limit,
        usage: e.usage,
        max: e.max,
        failcnt: e.failcnt,
    };
    let value = |name: &str| memory.stat.get(name).copied().unwrap_or(0);
    from_map!(&memory.stat, out1::MemoryStat {
        cache, rss, rss_huge, mapped_file, dirty, writeback,
        inactive_anon, active_anon, inactive_file, active_file, unevictable,
        hierarchical_memory_limit, total_cache, total_rss, total_rss_huge, total_mapped_file,
        total_dirty, total_writeback, total_inactive_anon, total_active_anon, total_inactive_file, total_active_file,
        total_unevictable,
    }
        pg_pg_in: value("pgpgin"),
        pg_pg_out: value("pgpgout"),
        pg_fault: value("pgfault"),
        pg_maj_fault: value("pgmajfault"),
        hierarchical_swap_limit: value("hierarchical_memsw_limit"),
        total_pg_pg_in: value("total_pgpgin"),
        total_pg_pg_out: value("total_pgpgout"),
        total_pg_fault: value("total_pgfault"),
        total_pg_maj_fault: value("total_pgmajfault"),
        usage: Some(entry(&memory.usage)),
        swap: memory.swap.as_ref().map(entry),
        kernel: memory.kernel.as_ref().map(entry),
        kernel_tcp: memory.kernel_tcp.as_ref().map(entry),
    )
}

fn blkio(blkio: &v1::Blkio) -> out1::BlkIoStat {
    let entry = |e: &v1::BlkioEntry| out1::BlkIoEntry {
        op: e.op.clone(),
        device: e.device.clone(),
        major: e.major,
        minor: e.minor,
        value: e.value,
    };
    let entries = |list: &[v1::BlkioEntry]| list.iter().map(entry).collect();
    out1::BlkIoStat {
        io_service_bytes_recursive: entries(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: entries(&blkio.io_serviced_recursive),
        io_queued_recursive: entries(&blkio.io_queued_recursive),
        io_service_time_recursive: entries(&blkio.io_service_time_recursive),
        io_wait_time_recursive: entries(&blkio.io_wait_time_recursive),
        io_merged_recursive: entries(&blkio.io_merged_recursive),
        io_time_recursive: entries(&blkio.io_time_recursive),
        sectors_recursive: entries(&blkio.sectors_recursive),
    }
}

fn metrics_v2(stats: &v2::Stats) -> out2::Metrics {
    let rdma = |r: &stats::Rdma| out2::RdmaEntry {
        device: r.device.clone(),
        hca_handles: r.hca_handles,
        hca_objects: r.hca_objects,
    };
    let io = |e: &v2::Io| out2::IoEntry {
        major: e.major,
        minor: e.minor,
        rbytes: e.rbytes,
        wbytes: e.wbytes,
        rios: e.rios,
        wios: e.wios,
    };
    let hugetlb = |h: &v2::Hugetlb| out2::HugeTlbStat {
        current: h.current,
        max: h.max,
        pagesize: h.page_size.clone(),
    };
    let events = || {
        from_map!(
            &stats.memory_events,
            out2::MemoryEvents {
                low,
                high,
                max,
                oom,
                oom_kill
            }
        )
    };
    let has_rdma = !stats.rdma_current.is_empty() || !stats.rdma_limit.is_empty();
    out2::Metrics {
        pids: stats.pids.map(|p| out2::PidsStat {
            current: p.current,
            limit: p.limit,
        }),
        cpu: stats.cpu.as_ref().map(|c| out2::CpuStat {
            usage_usec: c.usage_usec,
            user_usec: c.user_usec,
            system_usec: c.system_usec,
            nr_periods: c.nr_periods,
            nr_throttled: c.nr_throttled,
            throttled_usec: c.throttled_usec,
            psi: stats.cpu_pressure.as_ref().map(pressure),
            nr_bursts: c.nr_bursts,
            burst_usec: c.burst_usec,
        }),
        memory: stats
            .memory
            .as_ref()
            .map(|m| memory_v2(m, stats.memory_pressure.as_ref())),
        rdma: has_rdma.then(|| out2::RdmaStat {
            current: stats.rdma_current.iter().map(rdma).collect(),
            limit: stats.rdma_limit.iter().map(rdma).collect(),
        }),
        io: Some(out2::IoStat {
            usage: stats.io.iter().map(io).collect(),
            psi: stats.io_pressure.as_ref().map(pressure),
        }),
        hugetlb: stats.hugetlb.iter().map(hugetlb).collect(),
        memory_events: (!stats.memory_events.is_empty()).then(events),
        network: Vec::new(),
    }
}

fn pressure(pressure: &v2::Pressure) -> out2::PsiStats {
    let line = |line: &v2::PressureLine| out2::PsiData {
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
        total: line.total,
    };
    out2::PsiStats {
        some: Some(line(&pressure.some)),
        full: Some(line(&pressure.full)),
    }
}

fn memory_v2(memory: &v2::Memory, psi: Option<&v2::Pressure>) -> out2::MemoryStat {
    from_map!(&memory.stat, out2::MemoryStat {
        anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty, file_writeback, anon_thp,
        inactive_anon, active_anon, inactive_file, active_file, unevictable, slab_reclaimable, slab_unreclaimable,
        pgfault, pgmajfault, workingset_refault, workingset_activate, workingset_nodereclaim,
        pgrefill, pgscan, pgsteal, pgactivate, pgdeactivate, pglazyfree, pglazyfreed,
        thp_fault_alloc, thp_collapse_alloc,
    }
        usage: memory.usage,
        usage_limit: memory.usage_limit,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        max_usage: memory.max_usage,
        swap_max_usage: memory.swap_max_usage,
        psi: psi.map(pressure),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_usage() {
        let cgroup = crate::cgroup::of(std::process::id().cast_signed()).unwrap();
        let stats = cgroup.stats().unwrap();
        let any = pack(&stats);
        if let Stats::V1(_) = stats {
            let metrics: out1::Metrics = containerd_proto::unpack(&any).unwrap();
            assert!(metrics.memory.unwrap().usage.unwrap().usage > 0);
            assert!(metrics.cpu.unwrap().usage.unwrap().total > 0);
        } else {
            let metrics: out2::Metrics = containerd_proto::unpack(&any).unwrap();
            assert!(metrics.memory.is_some());
        }
    }
}
