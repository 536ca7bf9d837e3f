//! The container's cgroup: made and limited by the parent, entered by the child.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Spec};
use runc_rs_cgroups::cgroup::UNIFIED;
use runc_rs_cgroups::host::{Mode, container_path};
use runc_rs_cgroups::systemd::{Manager, Scope, Unit, annotations};
use runc_rs_cgroups::{Cgroup, Host};

use crate::Error;
use crate::init::CgroupFiles;
use crate::options::CgroupManager;
use crate::plan::Plan;
use crate::plan::ids;
use crate::plan::mounts::MountKind;
use crate::record::Record;
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

/// As [`files`], for the first process: into a scope systemd puts it.
pub(crate) fn first_files(cgroup: &Cgroup) -> CgroupFiles {
    let mut files = files(cgroup, false);
    if cgroup.unit().is_some_and(|unit| !unit.is_slice()) {
        files.v2.clear();
    }
    files
}

/// The cgroup that a further process enters, and the files for that.
pub(crate) fn for_exec(
    record: &Record,
    sub_cgroups: &BTreeMap<String, PathBuf>,
) -> Result<(Cgroup, CgroupFiles), Error> {
    let group = crate::lifecycle::cgroup(record);
    let manager = record.unit.is_some() && group.mode() == Mode::V2;
    if sub_cgroups.is_empty() {
        let mut files = files(&group, record.rootless);
        files.fallback = Some(record.pid);
        files.manager = manager;
        return Ok((group, files));
    }
    let group = group
        .below(sub_cgroups)
        .map_err(|error| Error::Cgroup(error.to_string()))?;
    let mut files = files(&group, record.rootless);
    files.manager = manager;
    Ok((group, files))
}

/// Has systemd put a process into the container's cgroup, or one below it.
pub(crate) fn attach(record: &Record, sub_cgroups: &BTreeMap<String, PathBuf>, pid: i32) -> Result<(), Error> {
    let group = crate::lifecycle::cgroup(record);
    let fallback = sub_cgroups.is_empty().then_some(record.pid);
    group
        .below(sub_cgroups)
        .and_then(|below| below.attach(&group, pid, fallback))
        .map_err(|error| failed(&error))
}

/// The file by which a process enters the cgroup2 cgroup of another. A container that made cgroups of its own below its first, and gave
/// them controllers, can have processes in those alone.
pub(crate) fn file_of(pid: i32) -> Option<CString> {
    let directory = runc_rs_cgroups::host::unified_of(pid).ok()?;
    CString::new(directory.join("cgroup.procs").as_os_str().as_bytes()).ok()
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

/// Who makes the container's cgroup, and puts its first process there.
#[derive(Debug)]
pub(crate) enum Maker {
    /// We do, before the process is born.
    Files,
    /// systemd does, once there is a process.
    Systemd(Box<Manager>),
    /// Nobody.
    Nobody,
}

/// The host's layout, the container's cgroup in it, and its maker; nothing is made. `path` is `linux.cgroupsPath`.
pub(crate) fn locate(
    path: Option<&Path>,
    id: &str,
    manager: CgroupManager,
    rootless: bool,
) -> Result<(Host, Cgroup, Maker), Error> {
    let located = Host::detect().and_then(|host| match manager {
        CgroupManager::Cgroupfs => {
            let mut cgroup = Cgroup::new(&host, &container_path(path, id))?;
            if rootless && !names_cgroup(path) {
                cgroup.forget_foreign();
            }
            Ok((host, cgroup, Maker::Files))
        }
        CgroupManager::Systemd => {
            let scope = if rootless { Scope::User } else { Scope::System };
            let unit = Unit::new(path, id, scope)?;
            let manager = Manager::connect(scope)?;
            let cgroup = Cgroup::of_unit(&host, unit, &manager)?;
            Ok((host, cgroup, Maker::Systemd(Box::new(manager))))
        }
        CgroupManager::Disabled => Ok((host, Cgroup::load(BTreeMap::new()), Maker::Nobody)),
    });
    match located {
        // In a container that shows no cgroups there are none to be had: limits are refused later.
        Err(_) if rootless && manager == CgroupManager::Cgroupfs && !names_cgroup(path) => {
            let host = Host {
                v1: Vec::new(),
                v2: None,
                v2_controllers: Vec::new(),
            };
            Ok((host, Cgroup::load(BTreeMap::new()), Maker::Files))
        }
        result => result.map_err(|error| Error::Cgroup(error.to_string())),
    }
}

/// A cgroup that exists must be empty: it is made the container's, who may be emptied and removed. And it must not be frozen, or the
/// container's process would stop on its way in, and we with it.
pub(crate) fn check_free(cgroup: &Cgroup) -> Result<(), Error> {
    if cgroup.exists() {
        if matches!(cgroup.freezer_state(), Ok(runc_rs_cgroups::FreezerState::Frozen)) {
            return Err(Error::Cgroup("container's cgroup unexpectedly frozen".into()));
        }
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

/// Has systemd make the unit, with the limits it knows and the process in it.
pub(crate) fn start(manager: &mut Manager, cgroup: &Cgroup, pid: i32, spec: &Spec) -> Result<(), Error> {
    let (mut resources, rules) = resources(spec);
    resources.set_devices(Some(rules));
    annotations::properties(spec.annotations().iter().flatten())
        .and_then(|extra| cgroup.start(manager, pid, &resources, &extra))
        .map_err(|error| failed(&error))
}

/// Gives the cgroup to the user who is to manage it from inside: where the container has a cgroup namespace of its own and sees it
/// writable. With cgroups of our own making that takes a user namespace besides, as nobody else expects it.
pub(crate) fn delegate(cgroup: &Cgroup, plan: &Plan, rootless: bool) -> Result<(), Error> {
    let namespaces = &plan.namespaces;
    let writable = plan.mounts.iter().any(|mount| {
        matches!(mount.kind, MountKind::Cgroup)
            && mount.destination == Path::new("/sys/fs/cgroup")
            && mount.options.attr.set & crate::sys::mounts::ATTR_RDONLY == 0
    });
    let own_users = namespaces.makes(libc::CLONE_NEWUSER);
    if cgroup.mode() != Mode::V2
        || !writable
        || !namespaces.makes(libc::CLONE_NEWCGROUP)
        || !(own_users || cgroup.unit().is_some())
    {
        return Ok(());
    }
    let uid = plan.process.uid;
    let owner = match &plan.id_maps {
        Some(maps) => ids::outside(&maps.uids, uid),
        None => Some(uid),
    };
    // A user who is not mapped can own nothing.
    let Some(owner) = owner else { return Ok(()) };
    match cgroup.delegate(owner) {
        // An ordinary user has given it away to himself already, and cannot to his subordinates.
        Err(error) if rootless && error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        result => result.map_err(|error| failed(&error)),
    }
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
