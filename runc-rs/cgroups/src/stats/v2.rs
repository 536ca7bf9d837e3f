//! Usage from cgroup2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Pids, Rdma, parse};
use crate::dir::Dir;
use crate::error::Result;

/// What cgroup2 says. A controller that is missing is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Tasks.
    pub pids: Option<Pids>,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// `memory.events`: `low`, `high`, `max`, `oom`, `oom_kill`, ...
    pub memory_events: BTreeMap<String, u64>,
    /// RDMA in use.
    pub rdma_current: Vec<Rdma>,
    /// RDMA limits.
    pub rdma_limit: Vec<Rdma>,
    /// Block devices.
    pub io: Vec<Io>,
    /// Pressure on the processors, memory and devices; `None` on kernels without PSI.
    pub cpu_pressure: Option<Pressure>,
    /// See `cpu_pressure`.
    pub memory_pressure: Option<Pressure>,
    /// See `cpu_pressure`.
    pub io_pressure: Option<Pressure>,
    /// Huge pages, by page size.
    pub hugetlb: Vec<Hugetlb>,
    /// Resources of the misc controller (Linux 5.13): encryption ids of SEV, for example.
    #[serde(default)]
    pub misc: Vec<Misc>,
}

/// One resource of the misc controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misc {
    /// Its name (`sev`).
    pub name: String,
    /// How much is in use.
    pub current: u64,
    /// Limit; `u64::MAX` for none.
    pub max: u64,
    /// How often the limit was met (Linux 5.16), else 0.
    pub events: u64,
}

/// Processor time (`cpu.stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it, in microseconds.
    pub usage_usec: u64,
    /// In user mode, in microseconds.
    pub user_usec: u64,
    /// In the kernel, in microseconds.
    pub system_usec: u64,
    /// Periods of the quota that have passed.
    pub nr_periods: u64,
    /// Periods in which the group was throttled.
    pub nr_throttled: u64,
    /// For how long, in microseconds.
    pub throttled_usec: u64,
    /// Bursts.
    pub nr_bursts: u64,
    /// For how long, in microseconds.
    pub burst_usec: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// `memory.stat`, by its own names (`anon`, `file`, ...).
    pub stat: BTreeMap<String, u64>,
    /// Bytes in use.
    pub usage: u64,
    /// Limit in bytes; `u64::MAX` for none.
    pub usage_limit: u64,
    /// The most bytes ever in use (Linux 5.19), else 0.
    pub max_usage: u64,
    /// Bytes of swap in use.
    pub swap_usage: u64,
    /// Limit of swap in bytes; `u64::MAX` for none.
    pub swap_limit: u64,
    /// The most bytes of swap ever in use (Linux 6.5), else 0.
    pub swap_max_usage: u64,
}

/// One block device (`io.stat`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Reads.
    pub rios: u64,
    /// Writes.
    pub wios: u64,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

/// A pressure file (Linux: Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task waits.
    pub some: PressureLine,
    /// All tasks wait.
    pub full: PressureLine,
}

impl Pressure {
    /// Reads the content of a pressure file; what is missing is 0.
    pub fn parse(text: &str) -> Self {
        let line = |word: &str| {
            let rest = text.lines().find_map(|l| l.strip_prefix(word)).unwrap_or_default();
            let field = |key: &str| {
                rest.split_whitespace()
                    .find_map(|f| f.strip_prefix(key)?.strip_prefix('='))
            };
            let average = |key: &str| field(key).and_then(|v| v.parse().ok()).unwrap_or(0.0);
            PressureLine {
                avg10: average("avg10"),
                avg60: average("avg60"),
                avg300: average("avg300"),
                total: field("total").and_then(|v| v.parse().ok()).unwrap_or(0),
            }
        };
        Self {
            some: line("some "),
            full: line("full "),
        }
    }
}

impl Io {
    /// Reads a line of `io.stat`; `None` when it does not begin with a device.
    pub fn parse(line: &str) -> Option<Self> {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = parse::device(device)?;
        let fields = parse::nested(rest);
        let number = |key: &str| fields.get(key).copied().unwrap_or(0);
        let (rbytes, wbytes) = (number("rbytes"), number("wbytes"));
        Some(Self {
            major,
            minor,
            rbytes,
            wbytes,
            rios: number("rios"),
            wios: number("wios"),
        })
    }
}

/// One page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hugetlb {
    /// Bytes in use.
    pub current: u64,
    /// Limit in bytes; `u64::MAX` for none.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
    /// `2MB`, `1GB`.
    pub page_size: String,
}

pub(super) fn read(dir: &Dir) -> Result<Stats> {
    Ok(Stats {
        pids: super::pids(dir)?,
        cpu: dir.read_optional("cpu.stat")?.map(|text| cpu(&text)),
        memory: memory(dir)?,
        memory_events: parse::flat(&dir.read_optional("memory.events")?.unwrap_or_default()),
        rdma_current: super::rdma(dir, "rdma.current")?,
        rdma_limit: super::rdma(dir, "rdma.max")?,
        io: dir
            .read_optional("io.stat")?
            .unwrap_or_default()
            .lines()
            .filter_map(Io::parse)
            .collect(),
        cpu_pressure: pressure(dir, "cpu.pressure")?,
        memory_pressure: pressure(dir, "memory.pressure")?,
        io_pressure: pressure(dir, "io.pressure")?,
        hugetlb: hugetlb(dir)?,
        misc: misc(
            &dir.read_optional("misc.current")?.unwrap_or_default(),
            &dir.read_optional("misc.max")?.unwrap_or_default(),
            &dir.read_optional("misc.events")?.unwrap_or_default(),
        ),
    })
}

fn misc(current: &str, max: &str, events: &str) -> Vec<Misc> {
    let (max, events) = (parse::flat(max), parse::flat(events));
    let one = |(name, current): (String, u64)| Misc {
        current,
        max: max.get(&name).copied().unwrap_or(u64::MAX),
        events: events.get(&format!("{name}.max")).copied().unwrap_or(0),
        name,
    };
    parse::flat(current).into_iter().map(one).collect()
}

fn cpu(text: &str) -> Cpu {
    let stat = parse::flat(text);
    let number = |key: &str| stat.get(key).copied().unwrap_or(0);
    Cpu {
        usage_usec: number("usage_usec"),
        user_usec: number("user_usec"),
        system_usec: number("system_usec"),
        nr_periods: number("nr_periods"),
        nr_throttled: number("nr_throttled"),
        throttled_usec: number("throttled_usec"),
        nr_bursts: number("nr_bursts"),
        burst_usec: number("burst_usec"),
    }
}

fn memory(dir: &Dir) -> Result<Option<Memory>> {
    let Some(usage) = dir.read_u64("memory.current")? else {
        return Ok(None);
    };
    Ok(Some(Memory {
        stat: parse::flat(&dir.read_optional("memory.stat")?.unwrap_or_default()),
        usage,
        usage_limit: dir.read_u64("memory.max")?.unwrap_or(u64::MAX),
        max_usage: dir.read_u64("memory.peak")?.unwrap_or(0),
        swap_usage: dir.read_u64("memory.swap.current")?.unwrap_or(0),
        swap_limit: dir.read_u64("memory.swap.max")?.unwrap_or(u64::MAX),
        swap_max_usage: dir.read_u64("memory.swap.peak")?.unwrap_or(0),
    }))
}

fn pressure(dir: &Dir, file: &str) -> Result<Option<Pressure>> {
    Ok(dir.read_optional(file)?.map(|text| Pressure::parse(&text)))
}

fn hugetlb(dir: &Dir) -> Result<Vec<Hugetlb>> {
    let sizes = parse::page_sizes(super::v1::file_names(dir.path())?.into_iter(), ".current");
    let read = |page_size: String| {
        let current = dir.read_u64(&format!("hugetlb.{page_size}.current"))?.unwrap_or(0);
        let max = dir.read_u64(&format!("hugetlb.{page_size}.max"))?.unwrap_or(u64::MAX);
        let events = parse::flat(
            &dir.read_optional(&format!("hugetlb.{page_size}.events"))?
                .unwrap_or_default(),
        );
        Ok(Hugetlb {
            current,
            max,
            failcnt: events.get("max").copied().unwrap_or(0),
            page_size,
        })
    };
    sizes.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misc_is_by_resource() {
        let misc = misc("sev 2\nsev_es 0\n", "sev 10\nsev_es max\n", "sev.max 4\n");
        let (sev, es) = (&misc[0], &misc[1]);
        assert_eq!((sev.name.as_str(), sev.current, sev.max, sev.events), ("sev", 2, 10, 4));
        assert_eq!((es.current, es.max, es.events), (0, u64::MAX, 0));
    }

    #[test]
    fn pressure_and_io_lines() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let pressure = Pressure::parse(text);
        assert!((pressure.some.avg10 - 1.5).abs() < 1e-9);
        assert_eq!((pressure.some.total, pressure.full.total), (77, 3));
        let io = Io::parse("8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0").unwrap();
        assert_eq!((io.minor, io.rbytes, io.wios), (16, 10, 2));
    }
}
