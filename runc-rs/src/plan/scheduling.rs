//! How a process is run, in the kernel's numbers: scheduler, I/O class, personality, processors, memory nodes.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Scheduler,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::sys::scheduling::SchedAttr;

/// One more than the highest processor or node of a list, as in runc.
const SET_SIZE: u32 = 1024;

/// Names of the modes of memory policies, for `features`.
pub(crate) const MEMORY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// Names of their flags.
pub(crate) const MEMORY_FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// On which processors a process of `exec` runs: bit masks, empty for "as it comes".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Affinity {
    /// Before it is moved to the container's cgroup.
    pub(crate) initial: Vec<u64>,
    /// After it was.
    pub(crate) last: Vec<u64>,
}

impl Affinity {
    /// From `process.execCPUAffinity`.
    pub(crate) fn plan(affinity: Option<&ExecCPUAffinity>) -> Result<Self, Error> {
        let list = |text: Option<&String>, name: &str| {
            number_set(text.map_or("", String::as_str)).map_err(|why| {
                let field = format!("process.execCPUAffinity.{}", name.to_lowercase());
                Error::config(field, format!("bad CPUAffinity.{name}: {why}"))
            })
        };
        Ok(Self {
            initial: list(affinity.and_then(|a| a.initial().as_ref()), "Initial")?,
            last: list(affinity.and_then(|a| a.cpu_affinity_final().as_ref()), "Final")?,
        })
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.initial.is_empty() && self.last.is_empty()
    }
}

/// `set_mempolicy(2)`'s arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemoryPolicy {
    /// Mode and flags.
    pub(crate) mode: u32,
    /// Bit mask of the nodes.
    pub(crate) nodes: Vec<u64>,
}

impl MemoryPolicy {
    /// From `linux.memoryPolicy`, judged as runc does.
    pub(crate) fn plan(policy: &LinuxMemoryPolicy) -> Result<Self, Error> {
        use MemoryPolicyModeType as Mode;
        let text = policy.nodes().as_deref().unwrap_or("");
        let nodes = number_set(text).map_err(|why| {
            let message = format!("invalid memory policy nodes {text:?}: {why}");
            Error::config("linux.memoryPolicy.nodes", message)
        })?;
        let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
        // The modes' numbers are those of <linux/mempolicy.h>; the flag says whether nodes are needed, forbidden, or either.
        let (mode, needs) = match policy.mode() {
            Mode::MpolDefault => (0, Some(false)),
            Mode::MpolPreferred => (1, None),
            Mode::MpolBind => (2, Some(true)),
            Mode::MpolInterleave => (3, Some(true)),
            Mode::MpolLocal => (4, Some(false)),
            Mode::MpolPreferredMany => (5, Some(true)),
            Mode::MpolWeightedInterleave => (6, Some(true)),
        };
        match needs {
            Some(true) if count == 0 => Err(Error::config(
                "linux.memoryPolicy.nodes",
                "memory policy mode requires at least one node but got 0",
            )),
            Some(false) if count != 0 => Err(Error::config(
                "linux.memoryPolicy.nodes",
                format!("memory policy mode requires 0 nodes but got {count}"),
            )),
            _ => Ok(Self {
                mode: policy.flags().iter().flatten().fold(mode, |all, flag| {
                    all | match flag {
                        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
                        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                    }
                }),
                nodes,
            }),
        }
    }
}

/// A list of numbers and ranges (`0-3,7`) as a bit mask; empty for an empty text. Spaces and doubled commas are forgiven, as in runc.
pub(crate) fn number_set(text: &str) -> Result<Vec<u64>, String> {
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number) if number < SET_SIZE => Ok(number),
        Ok(_) => Err(format!("values larger than {} are not supported", SET_SIZE - 1)),
        Err(_) => Err(format!("{text:?} is not a number")),
    };
    let mut mask = vec![0_u64; (SET_SIZE / 64) as usize];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("invalid range: {part}"));
        }
        for number in first..=last {
            if let Some(word) = mask.get_mut((number / 64) as usize) {
                *word |= 1 << (number % 64);
            }
        }
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if mask.iter().all(|word| *word == 0) {
        return Err(format!("no members found in set {text:?}"));
    }
    Ok(mask)
}

/// `process.scheduler` for `sched_setattr(2)`.
pub(crate) fn scheduler(scheduler: &Scheduler) -> SchedAttr {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    SchedAttr {
        policy,
        flags: scheduler
            .flags()
            .iter()
            .flatten()
            .map(flag)
            .fold(0, |all, one| all | one),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).unsigned_abs(),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedAttr::default()
    }
}

/// `process.ioPriority`: class and level for `ioprio_set(2)`.
pub(crate) fn io_priority(class: IOPriorityClass, level: i64) -> Result<(u32, u32), Error> {
    let class = match class {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(level) {
        Ok(level) if level < 8 => Ok((class, level)),
        _ => Err(Error::config(
            "process.ioPriority.priority",
            format!("invalid ioPriority.Priority: {level}"),
        )),
    }
}

/// `linux.personality` for `personality(2)`. There are no flags yet: runc warns and goes on.
pub(crate) fn personality(personality: &LinuxPersonality, warnings: &mut Vec<String>) -> u64 {
    if let Some(flags) = personality.flags().as_ref().filter(|flags| !flags.is_empty()) {
        warnings.push(format!(
            "ignoring unsupported personality flags: [{}] because personality flag has not supported at this time",
            flags.join(" ")
        ));
    }
    match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        let bits = |text: &str| -> Vec<u32> {
            let mask = number_set(text).unwrap();
            (0..SET_SIZE)
                .filter(|n| {
                    mask.get((n / 64) as usize)
                        .is_some_and(|word| word & (1 << (n % 64)) != 0)
                })
                .collect()
        };
        assert_eq!(bits("0-2,64, 70,,1023"), [0, 1, 2, 64, 70, 1023]);
        assert!(number_set("").unwrap().is_empty());
        for (text, why) in [
            ("1024", "values larger than 1023 are not supported"),
            ("3-1", "invalid range: 3-1"),
            (",", "no members found in set \",\""),
            ("a", "\"a\" is not a number"),
            ("1-", "\"\" is not a number"),
        ] {
            assert_eq!(number_set(text).unwrap_err(), why);
        }
    }

    #[test]
    fn memory_policies() {
        let plan = |json: serde_json::Value| {
            let policy = serde_json::from_value(json).unwrap();
            MemoryPolicy::plan(&policy).map_err(|error| error.to_string())
        };
        let policy =
            plan(serde_json::json!({"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]})).unwrap();
        assert_eq!(policy.mode, 2 | 1 << 15);
        assert_eq!(policy.nodes.get(..2), Some(&[1, 2][..]));
        let local = plan(serde_json::json!({"mode": "MPOL_LOCAL"})).unwrap();
        assert_eq!((local.mode, local.nodes.len()), (4, 0));
        for (json, words) in [
            (
                serde_json::json!({"mode": "MPOL_INTERLEAVE"}),
                "requires at least one node but got 0",
            ),
            (
                serde_json::json!({"mode": "MPOL_DEFAULT", "nodes": "0-1"}),
                "requires 0 nodes but got 2",
            ),
            (
                serde_json::json!({"mode": "MPOL_BIND", "nodes": "x"}),
                "invalid memory policy nodes \"x\"",
            ),
        ] {
            let error = plan(json).unwrap_err();
            assert!(
                error.starts_with("linux.memoryPolicy.nodes: ") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn the_scheduler_in_the_kernels_numbers() {
        let json = serde_json::json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"], "runtime": 1, "deadline": 2, "period": 3});
        let attr = scheduler(&serde_json::from_value(json).unwrap());
        assert_eq!(
            (attr.policy, attr.flags, attr.runtime, attr.deadline, attr.period),
            (6, 3, 1, 2, 3)
        );
    }
}
