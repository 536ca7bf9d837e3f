//! The container's process as plain data: what is set before its program is executed.

use std::ffi::CString;
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, PosixRlimitType, Process};

use super::scheduling::{self, Affinity, MemoryPolicy};
use crate::Error;
use crate::sys::credentials::CapabilityMasks;
use crate::sys::scheduling::SchedAttr;

/// What is set before the program of a process is executed.
#[derive(Debug, Clone)]
pub(crate) struct ProcessPlan {
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    /// `None`: not said. That is none for a container, and the container's own for a process of `exec`.
    pub(crate) capabilities: Option<CapabilityMasks>,
    /// `RLIMIT_*` number, soft, hard.
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) terminal: bool,
    /// Rows and columns.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) scheduler: Option<SchedAttr>,
    /// Class and level of `ioprio_set`.
    pub(crate) io_priority: Option<(u32, u32)>,
    pub(crate) personality: Option<u64>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// For a process of `exec` only.
    pub(crate) cpu_affinity: Affinity,
    pub(crate) apparmor_profile: Option<String>,
    pub(crate) selinux_label: Option<String>,
}

impl ProcessPlan {
    /// The value of a variable of the process's environment; the last one counts.
    pub(crate) fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().rev().find_map(|entry| {
            let rest = entry.as_bytes().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=")
        })
    }
}

/// Turns the `process` object into a plan. `warnings` gets what is ignored.
pub(crate) fn plan_process(process: &Process, warnings: &mut Vec<String>) -> Result<ProcessPlan, Error> {
    let args = strings(process.args().as_deref().unwrap_or_default(), "process.args")?;
    if args.is_empty() {
        return Err(Error::config("process.args", "args must not be empty"));
    }
    let env = environment(process)?;
    if !process.cwd().is_absolute() {
        return Err(Error::config(
            "process.cwd",
            format!("Cwd must be an absolute path, is {:?}", process.cwd()),
        ));
    }
    let user = process.user();
    for (field, id) in [("process.user.uid", user.uid()), ("process.user.gid", user.gid())] {
        if id == u32::MAX {
            return Err(Error::config(field, "4294967295 is no id"));
        }
    }
    Ok(ProcessPlan {
        args,
        env,
        cwd: process.cwd().clone(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        capabilities: process
            .capabilities()
            .as_ref()
            .map(|sets| capability_masks(sets, warnings)),
        rlimits: rlimits(process)?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        terminal: process.terminal().unwrap_or(false),
        console_size: console_size(process),
        scheduler: process.scheduler().as_ref().map(scheduling::scheduler),
        io_priority: process
            .io_priority()
            .as_ref()
            .map(|p| scheduling::io_priority(p.class(), p.priority()))
            .transpose()?,
        personality: None,
        memory_policy: None,
        cpu_affinity: Affinity::plan(process.exec_cpu_affinity().as_ref())?,
        apparmor_profile: process.apparmor_profile().clone().filter(|profile| !profile.is_empty()),
        selinux_label: process.selinux_label().clone().filter(|label| !label.is_empty()),
    })
}

fn strings(list: &[String], field: &str) -> Result<Vec<CString>, Error> {
    list.iter()
        .enumerate()
        .map(|(index, text)| {
            CString::new(text.as_str()).map_err(|_| Error::config(format!("{field}[{index}]"), "contains a NUL byte"))
        })
        .collect()
}

/// The environment: entries without `=` are dropped as runc drops them, of doubled names the last one stays.
fn environment(process: &Process) -> Result<Vec<CString>, Error> {
    let entries = process.env().as_deref().unwrap_or_default();
    let name = |entry: &str| entry.split_once('=').map(|(name, _)| name.to_owned());
    let mut kept: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(wanted) = name(entry).filter(|name| !name.is_empty()) else {
            continue;
        };
        match kept.iter_mut().find(|old| {
            old.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.starts_with('='))
        }) {
            Some(old) => old.clone_from(entry),
            None => kept.push(entry.clone()),
        }
    }
    strings(&kept, "process.env")
}

fn console_size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let clamp = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
    (size.height() != 0 || size.width() != 0).then(|| (clamp(size.height()), clamp(size.width())))
}

/// The capability sets as masks. Names this build does not know are ignored with a warning, as runc does.
pub(crate) fn capability_masks(sets: &LinuxCapabilities, warnings: &mut Vec<String>) -> CapabilityMasks {
    let mut mask = |set: &Option<Capabilities>| -> u64 {
        let mut bits = 0;
        for capability in set.iter().flatten() {
            let name = format!("CAP_{capability}");
            match caps::Capability::from_str(&name) {
                Ok(known) => bits |= known.bitmask(),
                Err(_) => warnings.push(format!("ignoring unknown or unavailable capabilities: [{name}]")),
            }
        }
        bits
    };
    let mut masks = CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        inheritable: mask(sets.inheritable()),
        permitted: mask(sets.permitted()),
        ambient: mask(sets.ambient()),
    };
    // The kernel raises into the ambient set only what is permitted and inheritable; runc leaves the rest out without a word.
    masks.ambient &= masks.permitted & masks.inheritable;
    masks
}

fn rlimits(process: &Process) -> Result<Vec<(u32, u64, u64)>, Error> {
    let mut plan: Vec<(u32, u64, u64)> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let resource = rlimit_number(limit.typ());
        if plan.iter().any(|(seen, _, _)| *seen == resource) {
            return Err(Error::config(
                format!("process.rlimits[{index}].type"),
                format!("{} is there twice", limit.typ()),
            ));
        }
        plan.push((resource, limit.soft(), limit.hard()));
    }
    Ok(plan)
}

fn rlimit_number(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as Kind;
    match kind {
        Kind::RlimitCpu => libc::RLIMIT_CPU,
        Kind::RlimitFsize => libc::RLIMIT_FSIZE,
        Kind::RlimitData => libc::RLIMIT_DATA,
        Kind::RlimitStack => libc::RLIMIT_STACK,
        Kind::RlimitCore => libc::RLIMIT_CORE,
        Kind::RlimitRss => libc::RLIMIT_RSS,
        Kind::RlimitNproc => libc::RLIMIT_NPROC,
        Kind::RlimitNofile => libc::RLIMIT_NOFILE,
        Kind::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        Kind::RlimitAs => libc::RLIMIT_AS,
        Kind::RlimitLocks => libc::RLIMIT_LOCKS,
        Kind::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        Kind::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        Kind::RlimitNice => libc::RLIMIT_NICE,
        Kind::RlimitRtprio => libc::RLIMIT_RTPRIO,
        Kind::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(json: serde_json::Value) -> Process {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn of_doubled_variables_the_last_one_stays() {
        let process = process(serde_json::json!({
            "user": {"uid": 1, "gid": 2}, "cwd": "/", "args": ["a"], "env": ["A=1", "B=2", "AB=3", "A=4", "broken"]
        }));
        let plan = plan_process(&process, &mut Vec::new()).unwrap();
        assert_eq!(plan.env, [c"A=4".to_owned(), c"B=2".to_owned(), c"AB=3".to_owned()]);
        assert_eq!(plan.variable("A"), Some(&b"4"[..]));
        assert_eq!(plan.variable("HOME"), None);
    }

    #[test]
    fn inheritable_capabilities_are_empty_unless_asked_for() {
        let process = process(serde_json::json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["a"],
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"]}
        }));
        let masks = plan_process(&process, &mut Vec::new()).unwrap().capabilities.unwrap();
        assert_eq!(
            masks,
            CapabilityMasks {
                bounding: 0b10_0001,
                effective: 0b10_0000,
                ..CapabilityMasks::default()
            }
        );
    }

    #[test]
    fn no_arguments_and_relative_directories_are_errors() {
        let no_args = process(serde_json::json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": []}));
        assert!(plan_process(&no_args, &mut Vec::new()).is_err());
        let relative = process(serde_json::json!({"user": {"uid": 0, "gid": 0}, "cwd": "tmp", "args": ["a"]}));
        assert!(
            plan_process(&relative, &mut Vec::new())
                .unwrap_err()
                .to_string()
                .starts_with("process.cwd: ")
        );
    }
}
