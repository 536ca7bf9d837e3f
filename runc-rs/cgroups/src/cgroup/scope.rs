//! What a cgroup of systemd's takes beside its files.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::{Cgroup, FreezerState, apply, freezer};
use crate::error::{Error, Result};
use crate::host::Mode;
use crate::systemd::properties::{self, Target};
use crate::systemd::{Manager, Property, Unit};

impl Cgroup {
    /// Has systemd make the cgroup of [`Self::of_unit`] with process `pid` in it, limited as `resources` says, and makes the
    /// directories that systemd does not. `extra` are properties of the caller's, which win over ours.
    ///
    /// On v1 the process is then in those hierarchies alone that systemd knows: it enters the others as always.
    ///
    /// # Errors
    /// [`crate::Error::Systemd`] and [`crate::Error::UnitResult`] when the unit does not come up; a limit that cannot be converted; a
    /// directory that cannot be made (the unit is stopped again by [`Self::delete`]).
    pub fn start(&self, manager: &mut Manager, pid: i32, resources: &LinuxResources, extra: &[Property]) -> Result<()> {
        let Some(unit) = &self.unit else {
            return self.create();
        };
        let mode = self.mode();
        let version = manager.version();
        let pid = (!unit.is_slice()).then_some(pid);
        let mut all = properties::base(unit, mode, pid);
        all.extend(properties::resources(resources, Target { mode, version })?);
        all.extend_from_slice(extra);
        manager.start(&unit.name, &all)?;
        self.create()
    }
}

impl Cgroup {
    /// Has systemd put a process into this cgroup: a unit's own, or one that [`Self::below`] made of it, given as `unit`. When a
    /// cgroup takes no processes any more, because it has handed its controllers on, it is put beside process `fallback`.
    ///
    /// # Errors
    /// [`crate::Error::Systemd`]; [`crate::Error::NoController`] on a host without cgroup2, or for a cgroup that is no unit's.
    pub fn attach(&self, unit: &Self, pid: i32, fallback: Option<i32>) -> Result<()> {
        let none = || Error::NoController {
            controller: "name=systemd".to_owned(),
        };
        let (Some(top), Some(own), Some(name)) = (unit.unified(), self.unified(), &self.unit) else {
            return Err(none());
        };
        let below = |path: &Path| path.strip_prefix(top).ok().map(|below| Path::new("/").join(below));
        let mut manager = Manager::connect(name.scope)?;
        let first = manager.attach(&name.name, &below(own).ok_or_else(none)?, pid);
        match (first, fallback) {
            (Err(error), Some(fallback)) => {
                let other = crate::host::unified_of(fallback).ok();
                match other
                    .and_then(|path| below(&path))
                    .filter(|path| path != Path::new("/"))
                {
                    Some(path) => manager.attach(&name.name, &path, pid),
                    None => Err(error),
                }
            }
            (first, _) => first,
        }
    }
}

/// The processor quota as systemd rounds it: a file that says something else would change when systemd next writes it.
pub(super) fn rounded(resources: &LinuxResources) -> LinuxResources {
    let mut resources = resources.clone();
    let cpu = resources.cpu().as_ref();
    if let Some((mut cpu, quota)) = cpu.and_then(|cpu| Some((cpu.clone(), properties::rounded_quota(cpu)?))) {
        cpu.set_quota(Some(quota));
        resources.set_cpu(Some(cpu));
    }
    resources
}

/// Limits by way of systemd and by the files. When the files refuse, systemd is told what it was told before; the files are for the
/// caller to take back.
pub(super) fn update(cgroup: &Cgroup, unit: &Unit, resources: &LinuxResources) -> Result<()> {
    // Before systemd is told: a limit below what is in use would end the container, and its unit with it.
    apply::check(cgroup, resources)?;
    let mut manager = Manager::connect(unit.scope)?;
    let target = Target {
        mode: cgroup.mode(),
        version: manager.version(),
    };
    let changes = properties::resources(resources, target)?;
    if changes.is_empty() {
        return cgroup.set(resources);
    }
    let mut before = manager.get(unit)?;
    before.retain(|old| changes.iter().any(|new| new.name == old.name));
    held(cgroup, || manager.set(&unit.name, &changes))?;
    cgroup.set(resources).inspect_err(|_| {
        // The files' error is the one to report.
        let _ = held(cgroup, || manager.set(&unit.name, &before));
    })
}

/// Does something while the container stands still, where systemd needs that: on v1 it takes every device away for a moment whenever it
/// changes a unit.
fn held(cgroup: &Cgroup, change: impl FnOnce() -> Result<()>) -> Result<()> {
    if cgroup.mode() == Mode::V2 || freezer::state(cgroup)? == FreezerState::Frozen {
        return change();
    }
    freezer::freeze(cgroup)?;
    let result = change();
    let thawed = freezer::thaw(cgroup);
    result.and(thawed)
}

pub(super) fn stop(unit: &Unit) -> Result<()> {
    Manager::connect(unit.scope)?.stop(&unit.name)
}
