//! The container's cgroup: made and limited by the parent, entered by the child.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{LinuxResources, Spec};
use runc_rs_cgroups::Cgroup;
use runc_rs_cgroups::cgroup::UNIFIED;

use crate::Error;
use crate::init::CgroupFiles;

/// The files through which a process moves itself into the cgroup: on v1, and on v2.
///
/// On v1 it is `tasks`: a thread that moves only itself spares the kernel the machine-wide lock and grace period that
/// `cgroup.procs` costs. The child has one thread, so that is all of it. On v2 the child is born in its place where possible.
pub(crate) fn files(cgroup: &Cgroup) -> CgroupFiles {
    let mut files = CgroupFiles::default();
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

/// Makes the cgroup's directories. One that exists must be empty.
pub(crate) fn make(cgroup: &Cgroup) -> Result<(), Error> {
    if cgroup.exists() {
        let there = pids_anywhere(cgroup)?.len();
        if there != 0 {
            return Err(Error::Cgroup(format!(
                "container's cgroup is not empty: {there} process(es) found"
            )));
        }
    }
    cgroup.create().map_err(|error| failed(&error))
}

/// Puts the limits in force, with the default devices after the configured rules.
pub(crate) fn limit(cgroup: &Cgroup, spec: &Spec) -> Result<(), Error> {
    let configured = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let mut resources: LinuxResources = configured.cloned().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.extend(runc_rs_cgroups::devices::default_rules());
    resources.set_devices(Some(rules));
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
