//! The container's cgroup: made and limited by the parent, entered by the child.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Spec};
use runc_rs_cgroups::cgroup::UNIFIED;
use runc_rs_cgroups::host::{Mode, container_path};
use runc_rs_cgroups::{Cgroup, Driver, Host};

use crate::Error;
use crate::init::CgroupFiles;
use crate::rootless::names_cgroup;

/// The files through which a process moves itself into the cgroup: on v1, and on v2. With `forgive` it stays out where it may not.
///
/// On v1 it is `tasks`: a thread that moves only itself spares the kernel the machine-wide lock and grace period that
/// `cgroup.procs` costs. The child has one thread, so that is all of it. On v2 the child is born in its place where possible.
pub(crate) fn files(cgroup: &Cgroup, forgive: bool) -> CgroupFiles {
    let mut files = CgroupFiles {
        forgive,
        ..CgroupFiles::default()
    };
    for (controller, directory) in cgroup.paths() {
        let (list, name) = if controller == UNIFIED {
            (&mut files.v2, "cgroup.procs")
        } else {
            (&mut files.v1, "tasks")
        };
        list.extend(CString::new(directory.join(name).as_os_str().as_bytes()));
    }
    files.v1.sort_unstable();
    files.v1.dedup();
    files
}

/// The cgroup2 directory, for a child that is born in it. `None` where there is none or it cannot be opened.
pub(crate) fn unified(cgroup: &Cgroup) -> Option<OwnedFd> {
    cgroup.unified_fd().ok().flatten()
}

/// The directory through which the container can be frozen: v1's freezer, or the cgroup2 directory where that has the controllers.
pub(crate) fn freezer_path(cgroup: &Cgroup) -> Option<&std::path::Path> {
    let paths = cgroup.paths();
    let unified = paths.get(UNIFIED).filter(|_| paths.len() == 1);
    paths.get("freezer").or(unified).map(std::path::PathBuf::as_path)
}

fn failed(error: &runc_rs_cgroups::Error) -> Error {
    Error::Process(format!("unable to apply cgroup configuration: {error}"))
}

/// runc's words for a container whose processes nothing holds together.
pub(crate) const UNCONTAINED: &str = "Creating a rootless container with no cgroup and no private pid namespace. \
    Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes) \
    and will result in an error in a future runc version.";

/// The host's layout and the container's cgroup in it; nothing is made. `path` is `linux.cgroupsPath`.
pub(crate) fn locate(path: Option<&Path>, id: &str, rootless: bool) -> Result<(Host, Cgroup), Error> {
    let located = Host::detect().and_then(|host| {
        let cgroup = Cgroup::new(&host, &container_path(path, id), Driver::Cgroupfs)?;
        Ok((host, cgroup))
    });
    match located {
        // In a container that shows no cgroups there are none to be had: limits are refused later.
        Err(_) if rootless && !names_cgroup(path) => {
            let host = Host {
                v1: Vec::new(),
                v2: None,
                v2_controllers: Vec::new(),
            };
            Ok((host, Cgroup::load(BTreeMap::new())))
        }
        result => result.map_err(|error| Error::Cgroup(error.to_string())),
    }
}

/// A cgroup that exists must be empty: it is made the container's, who may be emptied and removed.
pub(crate) fn check_free(cgroup: &Cgroup) -> Result<(), Error> {
    if cgroup.exists() {
        let there = pids_anywhere(cgroup)?.len();
        if there != 0 {
            return Err(Error::Cgroup(format!(
                "container's cgroup is not empty: {there} process(es) found"
            )));
        }
    }
    Ok(())
}

/// Makes the cgroup's directories. A rootless container whose configuration names no cgroup goes without the directories that may not be
/// made, unless it asks for limits.
pub(crate) fn make(cgroup: &mut Cgroup, spec: &Spec, rootless: bool) -> Result<(), Error> {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    if !rootless || names_cgroup(path) {
        return cgroup.create().map_err(|error| failed(&error));
    }
    let wanted = cgroup.clone();
    cgroup.create_where_allowed().map_err(|error| failed(&error))?;
    let (mut resources, _) = resources(spec);
    resources.set_devices(None);
    if wanted.mode() != Mode::V2 || !cgroup.paths().is_empty() || cgroup.set(&resources).is_ok() {
        return Ok(());
    }
    // Tried once more for the reason. Should it succeed now, so much the better.
    match wanted.create() {
        Ok(()) => *cgroup = wanted,
        Err(error) => {
            let words = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
            return Err(Error::Process(format!(
                "unable to apply cgroup configuration: {words}: {error}"
            )));
        }
    }
    Ok(())
}

/// The configured limits without the devices, and the device rules with the default devices after the configured ones.
fn resources(spec: &Spec) -> (LinuxResources, Vec<LinuxDeviceCgroup>) {
    let configured = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let resources: LinuxResources = configured.cloned().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.extend(runc_rs_cgroups::devices::default_rules());
    (resources, rules)
}

/// Puts the limits in force.
pub(crate) fn limit(cgroup: &Cgroup, spec: &Spec, rootless: bool) -> Result<(), Error> {
    let (mut resources, rules) = resources(spec);
    if rootless {
        // Refused to all but the machine's root, and not needed: what a user may open of the host's devices is his to open.
        let mut devices = LinuxResources::default();
        devices.set_devices(Some(rules));
        let _ = cgroup.set(&devices);
        resources.set_devices(None);
    } else {
        resources.set_devices(Some(rules));
    }
    cgroup.set(&resources).map_err(|error| failed(&error))
}

/// The processes in every one of the cgroup's directories: they need not be the same in each.
fn pids_anywhere(cgroup: &Cgroup) -> Result<BTreeSet<i32>, Error> {
    let mut pids = BTreeSet::new();
    for (controller, directory) in cgroup.paths() {
        let one = Cgroup::load([(controller.clone(), directory.clone())].into());
        pids.extend(one.pids().map_err(|error| Error::Cgroup(error.to_string()))?);
    }
    Ok(pids)
}

/// Signals every process of the cgroup, unless the runtime itself is among them: then it is not the container's alone.
pub(crate) fn kill(cgroup: &Cgroup, signal: i32) -> Result<(), Error> {
    if pids_anywhere(cgroup)?.contains(&std::process::id().cast_signed()) {
        return Err(Error::Cgroup(
            "the runtime itself is in the container's cgroup: its processes are not killed".into(),
        ));
    }
    cgroup.kill(signal).map_err(|error| Error::Cgroup(error.to_string()))
}
