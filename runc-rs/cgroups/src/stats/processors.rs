//! What only v1 and only runc's `events` tell: the cpuset, and processor time by processor.

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::Result;

/// The v1 cpuset (Linux: Documentation/admin-guide/cgroup-v1/cpusets.rst).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuSet {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// `cpuset.cpu_exclusive`, 0 or 1, as the following ones.
    pub cpu_exclusive: u64,
    /// `cpuset.mem_hardwall`.
    pub mem_hardwall: u64,
    /// `cpuset.mem_exclusive`.
    pub mem_exclusive: u64,
    /// `cpuset.memory_migrate`.
    pub memory_migrate: u64,
    /// `cpuset.memory_spread_page`.
    pub memory_spread_page: u64,
    /// `cpuset.memory_spread_slab`.
    pub memory_spread_slab: u64,
    /// Attempts to reclaim memory, a rate.
    pub memory_pressure: u64,
    /// `cpuset.sched_load_balance`.
    pub sched_load_balance: u64,
    /// -1 for the system's own.
    pub sched_relax_domain_level: i64,
}

/// Processor time by processor (v1's `cpuacct.usage_all`), in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerCpu {
    /// In the kernel.
    pub kernel: Vec<u64>,
    /// In user mode.
    pub user: Vec<u64>,
}

impl Cgroup {
    /// The v1 cpuset; `None` where there is none.
    ///
    /// # Errors
    /// A directory that is gone, a control file that cannot be read or understood.
    pub fn cpuset_stats(&self) -> Result<Option<CpuSet>> {
        let Some(path) = self.paths().get("cpuset") else {
            return Ok(None);
        };
        let dir = Dir::open(path)?;
        let number = |file: &str| Ok::<_, crate::Error>(dir.read_u64(file)?.unwrap_or(0));
        let list = |file: &str| Ok::<_, crate::Error>(numbers(&dir.read_optional(file)?.unwrap_or_default()));
        let level = dir
            .read_optional("cpuset.sched_relax_domain_level")?
            .unwrap_or_default();
        Ok(Some(CpuSet {
            cpus: list("cpuset.cpus")?,
            mems: list("cpuset.mems")?,
            cpu_exclusive: number("cpuset.cpu_exclusive")?,
            mem_hardwall: number("cpuset.mem_hardwall")?,
            mem_exclusive: number("cpuset.mem_exclusive")?,
            memory_migrate: number("cpuset.memory_migrate")?,
            memory_spread_page: number("cpuset.memory_spread_page")?,
            memory_spread_slab: number("cpuset.memory_spread_slab")?,
            memory_pressure: number("cpuset.memory_pressure")?,
            sched_load_balance: number("cpuset.sched_load_balance")?,
            sched_relax_domain_level: level.trim().parse().unwrap_or(0),
        }))
    }

    /// Processor time by processor; empty where only cgroup2 tells of it.
    ///
    /// # Errors
    /// A directory that is gone, a control file that cannot be read.
    pub fn per_cpu_stats(&self) -> Result<PerCpu> {
        let Some(path) = self.paths().get("cpuacct") else {
            return Ok(PerCpu::default());
        };
        let text = Dir::open(path)?.read_optional("cpuacct.usage_all")?;
        Ok(per_cpu(&text.unwrap_or_default()))
    }
}

/// `0-2,7` as 0, 1, 2, 7.
fn numbers(list: &str) -> Vec<u16> {
    let mut numbers = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// Lines of processor, user and system time, after a title.
fn per_cpu(text: &str) -> PerCpu {
    let mut times = PerCpu::default();
    for line in text.lines().skip(1) {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        if let [_, user, kernel] = fields[..] {
            times.user.push(user);
            times.kernel.push(kernel);
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_times_are_read() {
        assert_eq!(numbers("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(numbers(""), [] as [u16; 0]);
        let times = per_cpu("cpu user system\n0 5 6\n1 7 8\n");
        assert_eq!((times.user, times.kernel), (vec![5, 7], vec![6, 8]));
    }
}
