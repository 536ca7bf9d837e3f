//! Usage from v1 controllers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Pids, Rdma, parse};
use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::{Error, Result};

/// What the v1 controllers say. A controller that is missing is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Huge pages, by page size.
    pub hugetlb: Vec<Hugetlb>,
    /// Tasks.
    pub pids: Option<Pids>,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block devices.
    pub blkio: Option<Blkio>,
    /// RDMA in use.
    pub rdma_current: Vec<Rdma>,
    /// RDMA limits.
    pub rdma_limit: Vec<Rdma>,
}

/// One page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hugetlb {
    /// Bytes in use.
    pub usage: u64,
    /// The most bytes ever in use.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
    /// `2MB`, `1GB`.
    pub page_size: String,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it, in nanoseconds.
    pub total: u64,
    /// In the kernel, in nanoseconds.
    pub kernel: u64,
    /// In user mode, in nanoseconds.
    pub user: u64,
    /// Per processor, in nanoseconds.
    pub per_cpu: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the group was throttled.
    pub throttled_periods: u64,
    /// For how long, in nanoseconds.
    pub throttled_time: u64,
}

/// One counter of the memory controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEntry {
    /// The limit in bytes.
    pub limit: u64,
    /// Bytes in use.
    pub usage: u64,
    /// The most bytes ever in use.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// `memory.stat`, by its own names (`cache`, `rss`, `total_rss`, ...), in bytes.
    pub stat: BTreeMap<String, u64>,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap; `None` without swap accounting.
    pub swap: Option<MemoryEntry>,
    /// Kernel memory.
    pub kernel: Option<MemoryEntry>,
    /// TCP buffers.
    pub kernel_tcp: Option<MemoryEntry>,
    /// Whether the OOM killer is off (`oom_kill_disable`).
    pub oom_kill_disable: bool,
    /// Whether the group is out of memory now.
    pub under_oom: bool,
    /// Processes killed for memory.
    pub oom_kill: u64,
}

/// One line of a blkio file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// `Read`, `Write`, ... or empty where the file does not tell them apart.
    pub op: String,
    /// The device's name under /dev, where known.
    pub device: String,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// The value.
    pub value: u64,
}

/// Block devices, by the names that containerd gives the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blkio {
    /// Bytes.
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of service.
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of waiting.
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Merged operations.
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of disk time.
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    pub sectors_recursive: Vec<BlkioEntry>,
}

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats> {
    let open = |controller: &str| cgroup.paths().get(controller).map(|p| Dir::open(p)).transpose();
    let mut stats = Stats::default();
    if let Some(dir) = open("hugetlb")? {
        stats.hugetlb = hugetlb(&dir)?;
    }
    if let Some(dir) = open("pids")? {
        stats.pids = super::pids(&dir)?;
    }
    stats.cpu = cpu(open("cpuacct")?.as_ref(), open("cpu")?.as_ref())?;
    if let Some(dir) = open("memory")? {
        stats.memory = memory(&dir)?;
    }
    if let Some(dir) = open("blkio")? {
        stats.blkio = Some(blkio(&dir)?);
    }
    if let Some(dir) = open("rdma")? {
        stats.rdma_current = super::rdma(&dir, "rdma.current")?;
        stats.rdma_limit = super::rdma(&dir, "rdma.max")?;
    }
    Ok(stats)
}

pub(super) fn file_names(path: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(path).map_err(Error::io("open", path))?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
}

fn hugetlb(dir: &Dir) -> Result<Vec<Hugetlb>> {
    let sizes = parse::page_sizes(file_names(dir.path())?.into_iter(), ".usage_in_bytes");
    let read = |page_size: String| {
        let number = |end: &str| Ok(dir.read_u64(&format!("hugetlb.{page_size}.{end}"))?.unwrap_or(0));
        let (usage, max, failcnt) = (
            number("usage_in_bytes")?,
            number("max_usage_in_bytes")?,
            number("failcnt")?,
        );
        Ok(Hugetlb {
            usage,
            max,
            failcnt,
            page_size,
        })
    };
    sizes.into_iter().map(read).collect()
}

fn cpu(account: Option<&Dir>, control: Option<&Dir>) -> Result<Option<Cpu>> {
    let mut cpu = Cpu::default();
    if let Some(dir) = account {
        cpu.total = dir.read_u64("cpuacct.usage")?.unwrap_or(0);
        let per_cpu = dir.read_optional("cpuacct.usage_percpu")?.unwrap_or_default();
        cpu.per_cpu = per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match (dir.read_u64("cpuacct.usage_user")?, dir.read_u64("cpuacct.usage_sys")?) {
            (Some(user), Some(kernel)) => (cpu.user, cpu.kernel) = (user, kernel),
            _ => {
                // Before Linux 4.7: in ticks of a hundredth of a second.
                let stat = parse::flat(&dir.read_optional("cpuacct.stat")?.unwrap_or_default());
                let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or(0).saturating_mul(10_000_000);
                (cpu.user, cpu.kernel) = (nanoseconds("user"), nanoseconds("system"));
            }
        }
    }
    if let Some(dir) = control {
        let stat = parse::flat(&dir.read_optional("cpu.stat")?.unwrap_or_default());
        let number = |key: &str| stat.get(key).copied().unwrap_or(0);
        cpu.periods = number("nr_periods");
        cpu.throttled_periods = number("nr_throttled");
        cpu.throttled_time = number("throttled_time");
    }
    Ok((account.is_some() || control.is_some()).then_some(cpu))
}

fn memory(dir: &Dir) -> Result<Option<Memory>> {
    let entry = |prefix: &str| -> Result<Option<MemoryEntry>> {
        let number = |end: &str| dir.read_u64(&format!("{prefix}.{end}"));
        let Some(usage) = number("usage_in_bytes")? else {
            return Ok(None);
        };
        Ok(Some(MemoryEntry {
            usage,
            limit: number("limit_in_bytes")?.unwrap_or(0),
            max: number("max_usage_in_bytes")?.unwrap_or(0),
            failcnt: number("failcnt")?.unwrap_or(0),
        }))
    };
    let Some(usage) = entry("memory")? else { return Ok(None) };
    let oom = parse::flat(&dir.read_optional("memory.oom_control")?.unwrap_or_default());
    let flag = |key: &str| oom.get(key).copied().unwrap_or(0);
    Ok(Some(Memory {
        stat: parse::flat(&dir.read_optional("memory.stat")?.unwrap_or_default()),
        usage,
        swap: entry("memory.memsw")?,
        kernel: entry("memory.kmem")?,
        kernel_tcp: entry("memory.kmem.tcp")?,
        oom_kill_disable: flag("oom_kill_disable") != 0,
        under_oom: flag("under_oom") != 0,
        oom_kill: flag("oom_kill"),
    }))
}

fn blkio(dir: &Dir) -> Result<Blkio> {
    // Which family of files has numbers depends on the I/O scheduler: BFQ's, CFQ's, or (none) the throttler's.
    let first = |files: &[&str]| -> Result<Vec<BlkioEntry>> {
        for file in files {
            let entries = blkio_entries(&dir.read_optional(file)?.unwrap_or_default());
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    let bytes = "io_service_bytes_recursive";
    let count = "io_serviced_recursive";
    Ok(Blkio {
        io_service_bytes_recursive: first(&[
            &format!("blkio.bfq.{bytes}"),
            &format!("blkio.{bytes}"),
            &format!("blkio.throttle.{bytes}"),
            "blkio.throttle.io_service_bytes",
        ])?,
        io_serviced_recursive: first(&[
            &format!("blkio.bfq.{count}"),
            &format!("blkio.{count}"),
            &format!("blkio.throttle.{count}"),
            "blkio.throttle.io_serviced",
        ])?,
        io_queued_recursive: first(&["blkio.bfq.io_queued_recursive", "blkio.io_queued_recursive"])?,
        io_service_time_recursive: first(&["blkio.bfq.io_service_time_recursive", "blkio.io_service_time_recursive"])?,
        io_wait_time_recursive: first(&["blkio.bfq.io_wait_time_recursive", "blkio.io_wait_time_recursive"])?,
        io_merged_recursive: first(&["blkio.bfq.io_merged_recursive", "blkio.io_merged_recursive"])?,
        io_time_recursive: first(&["blkio.bfq.time_recursive", "blkio.time_recursive"])?,
        sectors_recursive: first(&["blkio.bfq.sectors_recursive", "blkio.sectors_recursive"])?,
    })
}

/// `8:0 Read 12` or `8:0 12`; the `Total` line at the end has no device.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = parse::device(fields.next()?)?;
        let second = fields.next()?;
        let (op, value) = match fields.next() {
            Some(value) => (second, value),
            None => ("", second),
        };
        let device = device_name(major, minor);
        Some(BlkioEntry {
            op: op.to_owned(),
            device,
            major,
            minor,
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `/dev/NAME` of a block device by sysfs; empty when it has none (a device of a vanished disk, say).
pub(super) fn device_name(major: u64, minor: u64) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link
        .ok()
        .and_then(|l| Some(l.file_name()?.to_string_lossy().into_owned()));
    name.map_or_else(String::new, |n| format!("/dev/{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_lines_have_two_shapes_and_a_total() {
        let entries = blkio_entries("8:0 Read 12\n8:0 Write 3\n8:16 7\nTotal 22\n");
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[0].op.as_str(), entries[0].value), ("Read", 12));
        assert_eq!(
            (entries[2].op.as_str(), entries[2].minor, entries[2].value),
            ("", 16, 7)
        );
    }
}
