//! `linux.resources` of a config (OCI runtime spec, config-linux.md "Control groups") as a list of file writes: pure data.

mod v1;
mod v2;

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxMemory, LinuxResources};

use crate::error::{Error, Result};

pub use v2::{cpu_weight, io_weight, swap_limit};

/// Which interface a controller is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// A v1 hierarchy of its own (or shared with others).
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where each controller is. What is not in the map is not there.
pub type Controllers = BTreeMap<String, Interface>;

/// What to do when the control file does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error.
    Fail,
    /// The value is what the kernel does anyway.
    Skip,
    /// Write this value to this file instead.
    Use {
        /// The other file.
        file: String,
        /// The other value.
        value: String,
    },
}

/// One value for one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller.
    pub controller: String,
    /// By which interface it is reached.
    pub interface: Interface,
    /// The file in the cgroup's directory.
    pub file: String,
    /// What is written.
    pub value: String,
    /// What to do without the file.
    pub missing: Missing,
    /// The kernel may refuse it (EINVAL) until a later write of the list was done: try it again at the end.
    pub again: bool,
}

impl Write {
    fn new(interface: Interface, controller: &str, file: impl Into<String>, value: impl ToString) -> Self {
        Self {
            controller: controller.to_owned(),
            interface,
            file: file.into(),
            value: value.to_string(),
            missing: Missing::Fail,
            again: false,
        }
    }

    fn skip_missing(mut self) -> Self {
        self.missing = Missing::Skip;
        self
    }

    fn or_use(mut self, file: impl Into<String>, value: impl ToString) -> Self {
        self.missing = Missing::Use {
            file: file.into(),
            value: value.to_string(),
        };
        self
    }

    fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

/// What the plan must know of the cgroup as it is, for changes of a running container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Current {
    /// The memory limit in bytes; `u64::MAX` for none. Says which of memory and swap must be raised or lowered first on v1.
    pub memory_limit: u64,
}

/// The writes that put `resources` in force, in order. Device rules are not among them (see [`crate::devices`]).
///
/// # Errors
/// A value that no version takes; a limit for a controller that is not there ([`Error::NoController`]).
pub fn plan(resources: &LinuxResources, controllers: &Controllers, current: Current) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let mut add = |controller: &str, make: &dyn Fn(Interface) -> Result<Vec<Write>>| -> Result<()> {
        // Without the controller the v2 plan says whether anything was asked for at all.
        let found = controllers.get(controller).copied();
        let made = make(found.unwrap_or(Interface::V2))?;
        if found.is_none() && !made.is_empty() {
            return Err(Error::NoController {
                controller: controller.to_owned(),
            });
        }
        writes.extend(made);
        Ok(())
    };
    if let Some(cpu) = resources.cpu() {
        add("cpuset", &|i| {
            Ok(cpuset(i, cpu.cpus().as_deref(), cpu.mems().as_deref()))
        })?;
        add("cpu", &|i| match i {
            Interface::V1 => Ok(v1::cpu(cpu)),
            Interface::V2 => Ok(v2::cpu(cpu)),
        })?;
    }
    if let Some(memory) = resources.memory() {
        check_memory(memory)?;
        add("memory", &|i| match i {
            Interface::V1 => Ok(v1::memory(memory, current)),
            Interface::V2 => v2::memory(memory),
        })?;
    }
    if let Some(pids) = resources.pids() {
        add("pids", &|i| {
            let value = match pids.limit() {
                0 => return Ok(Vec::new()),
                limit if limit < 0 => "max".to_owned(),
                limit => limit.to_string(),
            };
            Ok(vec![Write::new(i, "pids", "pids.max", value)])
        })?;
    }
    if let Some(block_io) = resources.block_io() {
        // One controller under two names.
        let name = if controllers.contains_key("blkio") {
            "blkio"
        } else {
            "io"
        };
        add(name, &|i| match i {
            Interface::V1 => Ok(v1::blkio(block_io)),
            Interface::V2 => Ok(v2::io(block_io)),
        })?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let (size, value) = (limit.page_size(), limit.limit());
        if size.is_empty() || size.contains('/') {
            let reason = format!("{size:?} is not the name of a page size");
            return Err(Error::Invalid {
                field: "linux.resources.hugepageLimits.pageSize",
                reason,
            });
        }
        add("hugetlb", &|i| {
            let end = if i == Interface::V1 { "limit_in_bytes" } else { "max" };
            Ok(vec![
                Write::new(i, "hugetlb", format!("hugetlb.{size}.{end}"), value),
                Write::new(i, "hugetlb", format!("hugetlb.{size}.rsvd.{end}"), value).skip_missing(),
            ])
        })?;
    }
    if let Some(network) = resources.network() {
        plan_network(network, controllers, &mut writes);
    }
    plan_rdma(resources, controllers, &mut writes)?;
    plan_unified(resources, controllers, &mut writes)?;
    Ok(writes)
}

/// `net_cls` and `net_prio` exist on v1 alone; runc ignores them elsewhere, so specs that carry them run everywhere.
fn plan_network(network: &oci_spec::runtime::LinuxNetwork, controllers: &Controllers, writes: &mut Vec<Write>) {
    if let (Some(class), Some(Interface::V1)) = (network.class_id(), controllers.get("net_cls")) {
        writes.push(Write::new(Interface::V1, "net_cls", "net_cls.classid", class));
    }
    if controllers.contains_key("net_prio") {
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            writes.push(Write::new(Interface::V1, "net_prio", "net_prio.ifpriomap", value));
        }
    }
}

fn plan_rdma(resources: &LinuxResources, controllers: &Controllers, writes: &mut Vec<Write>) -> Result<()> {
    let Some(rdma) = resources.rdma() else { return Ok(()) };
    let sorted: BTreeMap<_, _> = rdma.iter().collect();
    for (device, limit) in sorted {
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limit.hca_objects() {
            value.push_str(&format!(" hca_object={objects}"));
        }
        let interface = *controllers.get("rdma").ok_or_else(|| Error::NoController {
            controller: "rdma".to_owned(),
        })?;
        writes.push(Write::new(interface, "rdma", "rdma.max", value));
    }
    Ok(())
}

/// `unified` goes last, so that it has the last word over what was converted from v1 terms.
fn plan_unified(resources: &LinuxResources, controllers: &Controllers, writes: &mut Vec<Write>) -> Result<()> {
    let Some(unified) = resources.unified() else {
        return Ok(());
    };
    let sorted: BTreeMap<_, _> = unified.iter().collect();
    let v2_only = !controllers.values().any(|i| *i == Interface::V1);
    for (key, value) in sorted {
        if key.contains('/') || key == "." || key == ".." {
            return Err(Error::UnifiedKey { key: key.clone() });
        }
        let Some((controller, _)) = key.split_once('.').filter(|(controller, _)| !controller.is_empty()) else {
            return Err(Error::UnifiedForm { key: key.clone() });
        };
        match controllers.get(controller) {
            Some(Interface::V2) => {}
            _ if !v2_only => return Err(Error::UnifiedOnV1),
            _ if controller == "cgroup" => {}
            _ => {
                return Err(Error::UnifiedController {
                    key: key.clone(),
                    controller: controller.to_owned(),
                });
            }
        }
        for line in value.lines() {
            writes.push(Write::new(Interface::V2, controller, key.clone(), line));
        }
    }
    Ok(())
}

fn cpuset(interface: Interface, cpus: Option<&str>, mems: Option<&str>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (file, value) in [("cpuset.cpus", cpus), ("cpuset.mems", mems)] {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            writes.push(Write::new(interface, "cpuset", file, value));
        }
    }
    writes
}

fn check_memory(memory: &LinuxMemory) -> Result<()> {
    if let Some(swappiness) = memory.swappiness().filter(|s| *s > 100) {
        let reason = format!("invalid memory swappiness value: {swappiness} (valid range is 0-100)");
        return Err(Error::Invalid {
            field: "linux.resources.memory.swappiness",
            reason,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
