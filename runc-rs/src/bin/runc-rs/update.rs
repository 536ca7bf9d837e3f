//! The resources that `update` sets: from a file, and from flags over it.

use std::io::Read;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use crate::Failure;
use crate::args::UpdateArgs;

/// What is set; everything else stays as it is.
pub(crate) fn resources(args: &UpdateArgs) -> Result<LinuxResources, Failure> {
    let mut resources = match &args.resources {
        None => LinuxResources::default(),
        Some(path) => {
            let mut text = String::new();
            if path.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text)?;
            } else {
                text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
            }
            serde_json::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
        }
    };
    // The rules of the container stay: an update of limits is none of devices.
    resources.set_devices(None);
    cpu(args, &mut resources);
    memory(args, &mut resources);
    if let Some(weight) = args.blkio_weight {
        let mut block_io: LinuxBlockIo = resources.block_io().clone().unwrap_or_default();
        block_io.set_weight(Some(weight));
        resources.set_block_io(Some(block_io));
    }
    if let Some(limit) = args.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

fn cpu(args: &UpdateArgs, resources: &mut LinuxResources) {
    let mut cpu: LinuxCpu = resources.cpu().clone().unwrap_or_default();
    let before = cpu.clone();
    cpu.set_period(args.cpu_period.or(cpu.period()));
    cpu.set_quota(args.cpu_quota.or(cpu.quota()));
    cpu.set_burst(args.cpu_burst.or(cpu.burst()));
    cpu.set_shares(args.cpu_share.or(cpu.shares()));
    cpu.set_realtime_period(args.cpu_rt_period.or(cpu.realtime_period()));
    cpu.set_realtime_runtime(args.cpu_rt_runtime.or(cpu.realtime_runtime()));
    cpu.set_idle(args.cpu_idle.or(cpu.idle()));
    if args.cpuset_cpus.is_some() {
        cpu.set_cpus(args.cpuset_cpus.clone());
    }
    if args.cpuset_mems.is_some() {
        cpu.set_mems(args.cpuset_mems.clone());
    }
    if cpu != before {
        resources.set_cpu(Some(cpu));
    }
}

fn memory(args: &UpdateArgs, resources: &mut LinuxResources) {
    let mut memory: LinuxMemory = resources.memory().unwrap_or_default();
    let before = memory;
    memory.set_limit(args.memory.or(memory.limit()));
    memory.set_reservation(args.memory_reservation.or(memory.reservation()));
    memory.set_swap(args.memory_swap.or(memory.swap()));
    if memory != before {
        resources.set_memory(Some(memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_set() {
        let args = UpdateArgs {
            memory: Some(1 << 20),
            ..UpdateArgs::default()
        };
        let resources = resources(&args).unwrap();
        assert_eq!(resources.memory().unwrap().limit(), Some(1 << 20));
        assert!(resources.cpu().is_none() && resources.pids().is_none() && resources.devices().is_none());
    }
}
