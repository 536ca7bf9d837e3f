//! Changing the limits of a container that runs: all of them or none.

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::apply::{Dirs, perform, planned};
use super::{Cgroup, apply, scope};
use crate::error::Result;
use crate::plan::{Interface, Missing, Write};

pub(super) fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    let resources = complete(cgroup, resources)?;
    let mut dirs = Dirs::new(cgroup);
    // Values that cannot be are refused here, before anything is changed.
    let writes = planned(&mut dirs, &resources)?;
    let before: Vec<Write> = writes.iter().filter_map(|write| back(&mut dirs, write)).collect();
    let result = match cgroup.unit() {
        Some(unit) => scope::update(cgroup, unit, &resources),
        None => apply::set(cgroup, &resources),
    };
    if result.is_err() {
        for write in before.iter().rev() {
            // The first error is the one to report, and what is not to be had back is no worse than that.
            let _ = perform(&mut dirs, write);
        }
    }
    result
}

/// Quota and period are one file on v2, and one property each of systemd's that only together say what is meant: the one that is not
/// named is taken from what is in force.
fn complete(cgroup: &Cgroup, resources: &LinuxResources) -> Result<LinuxResources> {
    let mut resources = resources.clone();
    let Some(cpu) = resources.cpu().clone() else {
        return Ok(resources);
    };
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if (quota == 0) == (period == 0) {
        return Ok(resources);
    }
    if let Some((old_quota, old_period)) = quota_in_force(cgroup)? {
        let mut cpu: LinuxCpu = cpu;
        if quota == 0 {
            cpu.set_quota(Some(old_quota));
        } else {
            cpu.set_period(Some(old_period));
        }
        resources.set_cpu(Some(cpu));
    }
    Ok(resources)
}

fn quota_in_force(cgroup: &Cgroup) -> Result<Option<(i64, u64)>> {
    let mut dirs = Dirs::new(cgroup);
    if cgroup.paths().contains_key("cpu") {
        let dir = dirs.get(Interface::V1, "cpu")?;
        let quota = dir.read_u64("cpu.cfs_quota_us")?.unwrap_or(u64::MAX);
        let period = dir.read_u64("cpu.cfs_period_us")?;
        return Ok(period.map(|period| (i64::try_from(quota).unwrap_or(-1), period)));
    }
    let Ok(dir) = dirs.get(Interface::V2, "cpu") else {
        return Ok(None);
    };
    let text = dir.read_optional("cpu.max")?.unwrap_or_default();
    let pair = text.trim().split_once(' ');
    Ok(pair.and_then(|(quota, period)| Some((quota.parse().unwrap_or(-1), period.parse().ok()?))))
}

/// The write that undoes `write`, from what its file says now; none where that cannot be told.
fn back(dirs: &mut Dirs<'_>, write: &Write) -> Option<Write> {
    let dir = dirs.get(write.interface, &write.controller).ok()?;
    let mut files = vec![write.file.as_str()];
    if let Missing::Use { file, .. } = &write.missing {
        files.push(file);
    }
    let (file, now) = files
        .into_iter()
        .find_map(|file| Some((file, dir.read_optional(file).ok()??)))?;
    let value = former(file, &now, &write.value)?;
    Some(Write {
        file: file.to_owned(),
        value,
        missing: Missing::Skip,
        ..write.clone()
    })
}

/// What to write into `file`, whose content is `now`, so that `written` has not been.
fn former(file: &str, now: &str, written: &str) -> Option<String> {
    let key = written.split_once(' ').map(|(key, _)| key);
    let line = |key: &str| now.lines().find(|line| line.split(' ').next() == Some(key));
    match (file, key) {
        // Nothing of the kernel's own book-keeping.
        (file, _) if file.starts_with("cgroup.") => None,
        ("cpu.max", _) => Some(now.trim().to_owned()),
        ("memory.oom_control", _) => line("oom_kill_disable")?.split(' ').nth(1).map(str::to_owned),
        (_, Some(key)) => {
            let unset = match file {
                "io.max" => "rbps=max wbps=max riops=max wiops=max",
                "rdma.max" => "hca_handle=max hca_object=max",
                "io.weight" | "io.bfq.weight" => "default",
                file if file.starts_with("blkio.") => "0",
                _ => return line(key).map(str::to_owned),
            };
            Some(line(key).map_or_else(|| format!("{key} {unset}"), str::to_owned))
        }
        (_, None) => Some(now.lines().next().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_its_way_back() {
        let table = [
            ("pids.max", "max\n", "5", Some("max")),
            ("cpu.max", "max 100000\n", "5000 100000", Some("max 100000")),
            ("cpuset.cpus", "\n", "0-1", Some("")),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 rbps=2",
                Some("8:0 rbps=1 wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "",
                "8:16 rbps=2",
                Some("8:16 rbps=max wbps=max riops=max wiops=max"),
            ),
            ("io.weight", "default 100\n8:0 20\n", "300", Some("default 100")),
            ("io.weight", "default 100\n", "8:0 300", Some("8:0 default")),
            ("blkio.throttle.read_bps_device", "8:0 7\n", "8:16 9", Some("8:16 0")),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\n",
                "1",
                Some("0"),
            ),
            (
                "rdma.max",
                "",
                "mlx hca_handle=2",
                Some("mlx hca_handle=max hca_object=max"),
            ),
            ("net_prio.ifpriomap", "lo 0\neth0 5\n", "eth0 7", Some("eth0 5")),
            ("cgroup.max.depth", "max\n", "3", None),
        ];
        for (file, now, written, expected) in table {
            assert_eq!(former(file, now, written).as_deref(), expected, "{file}: {written}");
        }
    }
}
