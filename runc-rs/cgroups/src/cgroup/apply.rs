//! The executor of plans: opens each directory once, writes in order, and knows what the kernel's refusals mean.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::{Cgroup, UNIFIED, prepare};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::host::Mode;
use crate::plan::{Controllers, Current, Interface, Missing, Write, plan};
use crate::{devices, sys};

/// The writes that put `resources` in force on this cgroup as it is now.
pub(super) fn planned(dirs: &mut Dirs<'_>, resources: &LinuxResources) -> Result<Vec<Write>> {
    let cgroup = dirs.cgroup;
    let memory_limit = match (resources.memory(), cgroup.paths.contains_key("memory")) {
        (Some(_), true) => dirs
            .get(Interface::V1, "memory")?
            .read_u64("memory.limit_in_bytes")?
            .unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    plan(resources, &controllers(cgroup)?, Current { memory_limit })
}

pub(super) fn set(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    let mut dirs = Dirs::new(cgroup);
    let writes = planned(&mut dirs, resources)?;
    check_before_update(&mut dirs, resources)?;
    let hybrid = cgroup.mode() == Mode::Hybrid;
    if let (true, Some(unified)) = (
        hybrid && writes.iter().any(|w| w.interface == Interface::V2),
        cgroup.unified(),
    ) {
        prepare::enable_controllers(unified)?;
    }
    let mut again = Vec::new();
    for write in &writes {
        match perform(&mut dirs, write) {
            Err(e) if write.again && e.raw_os_error() == Some(libc::EINVAL) => again.push(write),
            result => result?,
        }
    }
    again.into_iter().try_for_each(|write| perform(&mut dirs, write))?;
    verify_shares(&mut dirs, &writes)?;
    match resources.devices().as_ref().filter(|rules| !rules.is_empty()) {
        Some(rules) => set_devices(&mut dirs, rules),
        None => Ok(()),
    }
}

/// Refuses what would do harm before any of it is done.
pub(super) fn check(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    check_before_update(&mut Dirs::new(cgroup), resources)
}

/// Which interface each controller has: v1 by its directory, the rest by what cgroup2's parent hands down.
fn controllers(cgroup: &Cgroup) -> Result<Controllers> {
    let mut controllers = Controllers::new();
    if let Some(unified) = cgroup.unified() {
        let dir = Dir::open(unified)?;
        let mut names = dir.read("cgroup.controllers")?;
        if cgroup.mode() == Mode::Hybrid {
            // Not handed down yet, but could be.
            if let Some(parent) = unified.parent() {
                names.push(' ');
                names.push_str(&Dir::open(parent)?.read("cgroup.controllers")?);
            }
        }
        controllers.extend(names.split_whitespace().map(|c| (c.to_owned(), Interface::V2)));
    }
    controllers.extend(
        cgroup
            .paths
            .keys()
            .filter(|k| *k != UNIFIED)
            .map(|k| (k.clone(), Interface::V1)),
    );
    Ok(controllers)
}

/// The directories of a cgroup, each opened once.
pub(super) struct Dirs<'a> {
    cgroup: &'a Cgroup,
    open: HashMap<PathBuf, Dir>,
}

impl<'a> Dirs<'a> {
    pub(super) fn new(cgroup: &'a Cgroup) -> Self {
        Self {
            cgroup,
            open: HashMap::new(),
        }
    }

    pub(super) fn get(&mut self, interface: Interface, controller: &str) -> Result<&Dir> {
        let key = if interface == Interface::V1 {
            controller
        } else {
            UNIFIED
        };
        let missing = || Error::NoController {
            controller: controller.to_owned(),
        };
        let path = self.cgroup.paths.get(key).ok_or_else(missing)?;
        if !self.open.contains_key(path) {
            self.open.insert(path.clone(), Dir::open(path)?);
        }
        self.open.get(path).ok_or_else(missing)
    }
}

pub(super) fn perform(dirs: &mut Dirs<'_>, write: &Write) -> Result<()> {
    let dir = dirs.get(write.interface, &write.controller)?;
    let result = match (&write.missing, dir.write(&write.file, &write.value)) {
        (_, Ok(())) => return Ok(()),
        (missing, Err(e)) if e.raw_os_error() == Some(libc::ENOENT) => match missing {
            Missing::Skip => return Ok(()),
            Missing::Use { file, value } => dir.write(file, value),
            Missing::Fail => Err(e),
        },
        (_, Err(e)) => Err(e),
    };
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) && write.controller == "memory" => Err(busy(dir, write, e)),
        other => other,
    }
}

/// EBUSY on a memory limit means that more than that is in use; say how much.
fn busy(dir: &Dir, write: &Write, error: Error) -> Error {
    let (usage, peak) = match write.file.as_str() {
        "memory.limit_in_bytes" => ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
        "memory.memsw.limit_in_bytes" => ("memory.memsw.usage_in_bytes", "memory.memsw.max_usage_in_bytes"),
        "memory.max" => ("memory.current", "memory.peak"),
        _ => return error,
    };
    let number = |file| dir.read_u64(file).ok().flatten().unwrap_or(0);
    match write.value.parse() {
        Ok(limit) => Error::MemoryBusy {
            limit,
            usage: number(usage),
            peak: number(peak),
        },
        Err(_) => error,
    }
}

/// `checkBeforeUpdate`: v2 takes a limit below the present use and then kills for it; refuse instead where that was asked for.
fn check_before_update(dirs: &mut Dirs<'_>, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    if memory.check_before_update() != Some(true) || dirs.cgroup.mode() != Mode::V2 {
        return Ok(());
    }
    let limits = [
        ("memory+swap", "linux.resources.memory.swap", memory.swap()),
        ("memory", "linux.resources.memory.limit", memory.limit()),
    ];
    if limits.iter().all(|(_, _, limit)| limit.unwrap_or(0) <= 0) {
        return Ok(());
    }
    let usage = dirs
        .get(Interface::V2, "memory")?
        .read_u64("memory.current")?
        .unwrap_or(0);
    for (name, field, limit) in limits {
        let limit = limit.and_then(|limit| u64::try_from(limit).ok());
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit <= usage) {
            let reason = format!("rejecting {name} limit {limit} <= usage {usage}");
            return Err(Error::Invalid { field, reason });
        }
    }
    Ok(())
}

/// v1 clamps shares without a word; runc tells, and so do we.
fn verify_shares(dirs: &mut Dirs<'_>, writes: &[Write]) -> Result<()> {
    let Some(write) = writes.iter().find(|w| w.file == "cpu.shares") else {
        return Ok(());
    };
    let got = dirs
        .get(write.interface, &write.controller)?
        .read_u64("cpu.shares")?
        .unwrap_or(0);
    let asked: u64 = write.value.parse().unwrap_or(got);
    let reason = match asked.cmp(&got) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Greater => format!("the maximum allowed cpu-shares is {got}"),
        std::cmp::Ordering::Less => format!("the minimum allowed cpu-shares is {got}"),
    };
    Err(Error::Invalid {
        field: "linux.resources.cpu.shares",
        reason,
    })
}

fn set_devices(dirs: &mut Dirs<'_>, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let policy = devices::fold(rules)?;
    if dirs.cgroup.paths.contains_key("devices") {
        let dir = dirs.get(Interface::V1, "devices")?;
        let current = dir.read("devices.list")?;
        return devices::changes_v1(&current, &policy)
            .iter()
            .try_for_each(|(file, value)| dir.write(file, value));
    }
    let dir = dirs.get(Interface::V2, "devices")?;
    let path = dir.path().to_owned();
    attach(dir, &devices::program(&policy)).map_err(Error::io("bpf", &path))
}

/// Puts the program in the place of the one that is there. Between the two no moment is without one.
fn attach(dir: &Dir, code: &[devices::Insn]) -> std::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let cgroup = rustix::fs::open(
        dir.path(),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let program = sys::load_device_program(code)?;
    let old = sys::device_programs(cgroup.as_fd())?
        .into_iter()
        .map(sys::program_by_id)
        .collect::<std::io::Result<Vec<_>>>()?;
    if let [only] = old.as_slice() {
        match sys::attach_device_program(cgroup.as_fd(), program.as_fd(), Some(only.as_fd())) {
            // Attached by somebody without ALLOW_MULTI, or a kernel before 5.6: the slow way.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EPERM | libc::ENOENT)) => {}
            other => return other,
        }
    }
    sys::attach_device_program(cgroup.as_fd(), program.as_fd(), None)?;
    old.iter()
        .try_for_each(|old| sys::detach_device_program(cgroup.as_fd(), old.as_fd()))
}
