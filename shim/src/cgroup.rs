//! Control groups as a shim sees them: the groups of a process, whatever runtime made them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use runc_rs_cgroups::cgroup::UNIFIED;
use runc_rs_cgroups::host::{Hierarchy, Mode};
use runc_rs_cgroups::{Cgroup, Host};

use crate::error::{Error, Result};

/// The control groups that a process is in now.
///
/// # Errors
/// A process that is gone, a host without control groups.
pub(crate) fn of(pid: i32) -> Result<Cgroup> {
    let read = |path: &Path| fs::read_to_string(path).map_err(Error::file("read", path));
    let mountinfo = read(Path::new("/proc/self/mountinfo"))?;
    let own = read(Path::new(&format!("/proc/{pid}/cgroup")))?;
    let host = Host::parse(&mountinfo, &own).map_err(|e| Error::Cgroup(e.to_string()))?;
    Ok(Cgroup::load(directories(&host, |hierarchy| hierarchy.own.clone())))
}

/// Moves a process into the control group `path` of every hierarchy that has it.
///
/// # Errors
/// When no hierarchy has it, or one refuses the process.
pub(crate) fn join(path: &str, pid: u32) -> Result<()> {
    let host = Host::detect().map_err(|e| Error::Cgroup(e.to_string()))?;
    let path = Path::new("/").join(path.trim_start_matches('/'));
    let mut directories: Vec<PathBuf> = directories(&host, |_| path.clone()).into_values().collect();
    directories.sort();
    directories.dedup();
    directories.retain(|directory| directory.is_dir());
    if directories.is_empty() {
        return Err(Error::Cgroup(format!(
            "failed to load cgroup {}: no such cgroup",
            path.display()
        )));
    }
    directories
        .iter()
        .map(|directory| directory.join("cgroup.procs"))
        .try_for_each(|file| fs::write(&file, pid.to_string()).map_err(Error::file("write", &file)))
}

/// The directory of a cgroup in each hierarchy, by controller.
fn directories(host: &Host, cgroup: impl Fn(&Hierarchy) -> PathBuf) -> BTreeMap<String, PathBuf> {
    let directory = |hierarchy: &Hierarchy| {
        let path = cgroup(hierarchy);
        let inside = path.strip_prefix(&hierarchy.root).or_else(|_| path.strip_prefix("/"));
        hierarchy.mountpoint.join(inside.unwrap_or(&path))
    };
    let v2 = host
        .v2
        .iter()
        .map(|hierarchy| (UNIFIED.to_owned(), directory(hierarchy)));
    if host.mode() == Mode::V2 {
        return v2.collect();
    }
    let v1 = host.v1.iter().flat_map(|hierarchy| {
        let directory = directory(hierarchy);
        hierarchy
            .controllers
            .iter()
            .map(move |controller| (controller.clone(), directory.clone()))
    });
    v1.chain(v2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cgroups_of_a_process() {
        let cgroup = of(std::process::id().cast_signed()).unwrap();
        assert!(!cgroup.paths().is_empty());
        let pids = cgroup.pids().unwrap();
        assert!(
            pids.contains(&std::process::id().cast_signed()),
            "{:?}: {pids:?}",
            cgroup.paths()
        );
    }

    #[test]
    fn refuses_a_cgroup_that_is_not_there() {
        assert!(join("/no-such-cgroup-of-shims", std::process::id()).is_err());
    }
}
