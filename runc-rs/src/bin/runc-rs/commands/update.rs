//! `update`: limits of a running container, from a file or from flags.

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;
use crate::values::Values;

pub(crate) const COMMAND: Command = Command {
    name: "update",
    usage: "update container resource constraints",
    arguments: "<container-id>",
    description: "",
    flags: &[
        Flag::text(
            "resources",
            "path to the file containing the resources to update or '-' to read from the standard input

It is linux.resources of a specification; what is left out stays as it is:

{
  \"memory\": {
    \"limit\": 0,
    \"reservation\": 0,
    \"swap\": 0,
    \"checkBeforeUpdate\": true
  },
  \"cpu\": {
    \"shares\": 0,
    \"quota\": 0,
    \"burst\": 0,
    \"period\": 0,
    \"realtimeRuntime\": 0,
    \"realtimePeriod\": 0,
    \"cpus\": \"\",
    \"mems\": \"\",
    \"idle\": 0
  },
  \"blockIO\": {
    \"weight\": 0
  }
}

With it all flags of limits are ignored.
",
        )
        .short("r"),
        Flag::number("blkio-weight", "Specifies per cgroup weight, range is from 10 to 1000"),
        Flag::text(
            "cpu-period",
            "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default",
        ),
        Flag::text(
            "cpu-quota",
            "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period",
        ),
        Flag::text(
            "cpu-burst",
            "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period",
        ),
        Flag::text("cpu-share", "CPU shares (relative weight vs. other containers)"),
        Flag::text(
            "cpu-rt-period",
            "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default",
        ),
        Flag::text(
            "cpu-rt-runtime",
            "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period",
        ),
        Flag::text("cpuset-cpus", "CPU(s) to use"),
        Flag::text("cpuset-mems", "Memory node(s) to use"),
        Flag::text("kernel-memory", "(obsoleted; do not use)").hidden(),
        Flag::text("kernel-memory-tcp", "(obsoleted; do not use)").hidden(),
        Flag::text("memory", "Memory limit (in bytes)"),
        Flag::text(
            "cpu-idle",
            "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE",
        ),
        Flag::text("memory-reservation", "Memory reservation or soft_limit (in bytes)"),
        Flag::text(
            "memory-swap",
            "Total memory usage (memory + swap); set '-1' to enable unlimited swap",
        ),
        Flag::number("pids-limit", "Maximum number of pids allowed in the container"),
        Flag::text("l3-cache-schema", "The string of Intel RDT/CAT L3 cache schema"),
        Flag::text("mem-bw-schema", "The string of Intel RDT/MBA memory bandwidth schema"),
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: false,
    run: update,
};

fn update(invocation: &Invocation) -> Result<u8, Failure> {
    let (id, runtime, values) = (invocation.id()?, invocation.runtime(), &invocation.values);
    // The container first: callers ask about it.
    runtime.state(id)?;
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        if values.is_set(flag) {
            invocation
                .log
                .warn(&format!("Setting --{flag} is ignored and will be removed"));
        }
    }
    let mut resources = match values.path("resources") {
        Some(path) => from_file(&path)?,
        None => from_flags(values)?,
    };
    unlimited_swap(&mut resources);
    // The rules of the container stay: an update of limits is none of devices.
    resources.set_devices(None);
    let (l3, bandwidth) = (values.text("l3-cache-schema")?, values.text("mem-bw-schema")?);
    if l3.is_some() || bandwidth.is_some() {
        // First: it fails where the machine has none, and nothing is changed then.
        runtime.update_intel_rdt(id, l3, bandwidth)?;
    }
    runtime.update(id, &resources)?;
    let (l3, bandwidth) = (values.text("l3-cache-schema")?, values.text("mem-bw-schema")?);
    if l3.is_some() || bandwidth.is_some() {
        runtime.update_intel_rdt(id, l3, bandwidth)?;
    }
    Ok(0)
}

fn from_file(path: &Path) -> Result<LinuxResources, Failure> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut text)?;
    } else {
        text = std::fs::read(path).map_err(|error| Failure::on("open", path, error))?;
    }
    serde_json::from_slice(&text).map_err(|error| Failure::json(path, &error))
}

fn from_flags(values: &Values) -> Result<LinuxResources, Failure> {
    let mut resources = LinuxResources::default();
    cpu(values, &mut resources)?;
    memory(values, &mut resources)?;
    if let Some(weight) = Some(values.number("blkio-weight")).filter(|weight| *weight != 0) {
        let mut block_io = LinuxBlockIo::default();
        let bad = |_| Failure::new(format!("invalid value for blkio-weight: {weight}"));
        block_io.set_weight(Some(u16::try_from(weight).map_err(bad)?));
        resources.set_block_io(Some(block_io));
    }
    if let Some(limit) = Some(values.number("pids-limit")).filter(|limit| *limit != 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

/// A number of a flag, in the words of Go's `strconv`, whose function for it is `function`.
fn number<T: std::str::FromStr>(values: &Values, flag: &str, function: &str) -> Result<Option<T>, Failure> {
    let parse = |text: &str| {
        let words = || format!("invalid value for {flag}: strconv.{function}: parsing {text:?}: invalid syntax");
        text.parse::<T>().map_err(|_| Failure::new(words()))
    };
    values.text(flag)?.map(parse).transpose()
}

fn cpu(values: &Values, resources: &mut LinuxResources) -> Result<(), Failure> {
    let mut cpu = LinuxCpu::default();
    let unsigned = |flag: &str| number::<u64>(values, flag, "ParseUint");
    let signed = |flag: &str| number::<i64>(values, flag, "ParseInt");
    cpu.set_idle(signed("cpu-idle")?);
    cpu.set_burst(unsigned("cpu-burst")?);
    cpu.set_period(unsigned("cpu-period")?);
    cpu.set_realtime_period(unsigned("cpu-rt-period")?);
    cpu.set_shares(unsigned("cpu-share")?);
    cpu.set_quota(signed("cpu-quota")?);
    cpu.set_realtime_runtime(signed("cpu-rt-runtime")?);
    cpu.set_cpus(values.text("cpuset-cpus")?.map(str::to_owned));
    cpu.set_mems(values.text("cpuset-mems")?.map(str::to_owned));
    if cpu != LinuxCpu::default() {
        resources.set_cpu(Some(cpu));
    }
    Ok(())
}

fn memory(values: &Values, resources: &mut LinuxResources) -> Result<(), Failure> {
    let size = |flag: &str| {
        let parse = |text: &str| {
            bytes(text).ok_or_else(|| Failure::new(format!("invalid value for {flag}: invalid size: '{text}'")))
        };
        values.text(flag)?.map(parse).transpose()
    };
    let mut memory = LinuxMemory::default();
    memory.set_limit(size("memory")?);
    memory.set_swap(size("memory-swap")?);
    memory.set_reservation(size("memory-reservation")?);
    if memory != LinuxMemory::default() {
        resources.set_memory(Some(memory));
    }
    Ok(())
}

/// Without a limit of memory there is none of memory and swap, unless it is given: v1 refuses the one without the other.
fn unlimited_swap(resources: &mut LinuxResources) {
    if let Some(mut memory) = *resources.memory()
        && memory.limit() == Some(-1)
        && memory.swap().is_none()
    {
        memory.set_swap(Some(-1));
        resources.set_memory(Some(memory));
    }
}

/// A size as Docker's units are: a number, with a fraction perhaps, and `b`, `k`, `m`, `g`, `t`, `p`, also as `kb` or `KiB`, all by 1024;
/// or -1 for none.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0_u32,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    let number: f64 = number.parse().ok()?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a fraction of a unit is cut off, as Docker does"
    )]
    let size = (number * scale as f64) as i64;
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(flags: &[(&'static str, &str)]) -> Values {
        let mut values = Values::default();
        flags.iter().for_each(|(name, value)| values.push(name, value.into()));
        values
    }

    #[test]
    fn only_what_is_named_is_set() {
        let resources = from_flags(&values(&[("memory", "1m"), ("cpu-burst", "7")])).unwrap();
        assert_eq!(resources.memory().unwrap().limit(), Some(1 << 20));
        assert_eq!(resources.cpu().as_ref().unwrap().burst(), Some(7));
        assert!(resources.pids().is_none() && resources.devices().is_none() && resources.block_io().is_none());
    }

    #[test]
    fn no_limit_of_memory_is_none_of_swap() {
        let mut resources = from_flags(&values(&[("memory", "-1")])).unwrap();
        unlimited_swap(&mut resources);
        assert_eq!(resources.memory().unwrap().swap(), Some(-1));
    }

    #[test]
    fn bad_numbers_are_named() {
        for (flag, value, words) in [
            ("memory", "x", "invalid value for memory: invalid size: 'x'"),
            (
                "cpu-period",
                "x",
                "invalid value for cpu-period: strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            (
                "cpu-quota",
                "1y",
                "invalid value for cpu-quota: strconv.ParseInt: parsing \"1y\": invalid syntax",
            ),
            ("blkio-weight", "99999", "invalid value for blkio-weight: 99999"),
        ] {
            assert_eq!(from_flags(&values(&[(flag, value)])).unwrap_err().message, words);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("4k", Some(4096)),
            ("4kb", Some(4096)),
            ("4KiB", Some(4096)),
            ("1.5m", Some(1_572_864)),
            ("2 g", Some(2 << 30)),
            ("10b", Some(10)),
            ("-1", Some(-1)),
            ("-2", None),
            ("k", None),
            ("", None),
            ("1x", None),
            ("1ib", None),
            ("9999999999999p", None),
        ] {
            assert_eq!(bytes(text), want, "{text:?}");
        }
    }
}
