//! What runc would refuse in a config, found before anything is made. Each error names the field and then says it in runc's words
//! where it has some, so that callers who look for those find them.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Process, Spec};

mod linux;
mod sysctl;

pub use sysctl::sysctl_path;

/// A field of a config that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Error {
    /// The field, dotted: `process.cwd`, `linux.namespaces[2].type`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

type Result<T = (), E = Error> = std::result::Result<T, E>;

fn refuse<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T> {
    Err(Error {
        field: field.into(),
        reason: reason.into(),
    })
}

/// Which namespaces a container gets, new or joined.
pub(crate) struct Namespaces(Vec<(LinuxNamespaceType, bool)>);

impl Namespaces {
    fn of(spec: &Spec) -> Self {
        let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
        Self(
            all.into_iter()
                .flatten()
                .map(|n| (n.typ(), n.path().is_some()))
                .collect(),
        )
    }

    fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.0.iter().any(|(k, _)| *k == kind)
    }

    fn joins(&self, kind: LinuxNamespaceType) -> bool {
        self.0.contains(&(kind, true))
    }
}

/// Judges a whole config.
///
/// What needs a look at the machine (whether paths exist, whether a joined namespace is the host's own) is not judged here.
///
/// # Errors
/// The first field that cannot be.
pub fn validate(spec: &Spec) -> Result {
    version(spec.version())?;
    let Some(root) = spec.root() else {
        return refuse("root", "root must be specified");
    };
    if root.path().as_os_str().is_empty() {
        return refuse("root.path", "must not be empty");
    }
    match spec.process() {
        Some(process) => validate_process(process)?,
        None => return refuse("process", "process property must not be empty"),
    }
    let namespaces = Namespaces::of(spec);
    mounts(spec.mounts().as_deref().unwrap_or_default(), &namespaces)?;
    names(spec, &namespaces)?;
    hooks(spec)?;
    for key in spec.annotations().iter().flatten().map(|(key, _)| key) {
        if key.is_empty() {
            return refuse("annotations", "a key must not be empty");
        }
    }
    match spec.linux() {
        Some(linux) => linux::validate(linux, &namespaces),
        None => refuse("linux", "linux section must be specified"),
    }
}

/// `ociVersion` must be a semantic version that this crate understands.
fn version(version: &str) -> Result {
    let (core, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let numbers: Vec<Option<u32>> = core.split('.').map(|n| n.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => refuse("ociVersion", format!("unsupported version {version:?}")),
        _ => refuse("ociVersion", format!("{version:?} is not a semantic version")),
    }
}

/// Judges a process: of a config, or of `exec --process`.
///
/// # Errors
/// The first field that cannot be.
pub fn validate_process(process: &Process) -> Result {
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        return refuse("process.cwd", "Cwd property must not be empty");
    }
    if !cwd.is_absolute() {
        return refuse("process.cwd", "Cwd must be an absolute path");
    }
    match process.args().as_deref() {
        None | Some([]) => return refuse("process.args", "args must not be empty"),
        Some(args) => no_nul("process.args", args)?,
    }
    no_nul("process.env", process.env().as_deref().unwrap_or_default())?;
    let mut seen = Vec::new();
    for (at, limit) in process.rlimits().iter().flatten().enumerate() {
        if seen.contains(&limit.typ()) {
            return refuse(
                format!("process.rlimits[{at}].type"),
                format!("duplicate rlimit {}", limit.typ()),
            );
        }
        seen.push(limit.typ());
        if limit.soft() > limit.hard() {
            let reason = format!("soft limit {} is above the hard limit {}", limit.soft(), limit.hard());
            return refuse(format!("process.rlimits[{at}].soft"), reason);
        }
    }
    if let Some(score) = process.oom_score_adj().filter(|s| !(-1000..=1000).contains(s)) {
        return refuse("process.oomScoreAdj", format!("{score} is not in range -1000 to 1000"));
    }
    if let Some(mask) = process.user().umask().filter(|m| *m > 0o777) {
        return refuse("process.user.umask", format!("{mask:o} is not in range 0 to 777"));
    }
    scheduling(process)
}

fn scheduling(process: &Process) -> Result {
    use oci_spec::runtime::LinuxSchedulerPolicy as Policy;
    if let Some(priority) = process
        .io_priority()
        .as_ref()
        .map(|p| p.priority())
        .filter(|p| !(0..=7).contains(p))
    {
        return refuse(
            "process.ioPriority.priority",
            format!("invalid ioPriority.Priority: {priority}"),
        );
    }
    let Some(scheduler) = process.scheduler() else {
        return Ok(());
    };
    let policy = *scheduler.policy();
    let out_of_range = scheduler.nice().filter(|n| !(-20..=19).contains(n));
    if let (Some(nice), Policy::SchedOther | Policy::SchedBatch) = (out_of_range, policy) {
        let reason = format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}");
        return refuse("process.scheduler.nice", reason);
    }
    let realtime = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if scheduler.priority().is_some_and(|p| p != 0) && !realtime {
        let reason = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        return refuse("process.scheduler.priority", reason);
    }
    let deadline = [scheduler.runtime(), scheduler.deadline(), scheduler.period()];
    if policy != Policy::SchedDeadline && deadline.iter().any(|d| d.is_some_and(|d| d != 0)) {
        let reason = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        return refuse("process.scheduler", reason);
    }
    Ok(())
}

/// A NUL byte would end a string early in the kernel's eyes.
fn no_nul(field: &str, texts: &[String]) -> Result {
    match texts.iter().position(|t| t.contains('\0')) {
        Some(at) => refuse(format!("{field}[{at}]"), "must not contain a NUL byte"),
        None => Ok(()),
    }
}

fn path_has_nul(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}

fn mounts(mounts: &[Mount], namespaces: &Namespaces) -> Result {
    if !mounts.is_empty() && !namespaces.has(LinuxNamespaceType::Mount) {
        return refuse("mounts", "unable to mount without a private MNT namespace");
    }
    for (at, mount) in mounts.iter().enumerate() {
        let field = |name: &str| format!("mounts[{at}].{name}");
        if mount.destination().as_os_str().is_empty() {
            return refuse(field("destination"), "must not be empty");
        }
        if path_has_nul(mount.destination()) {
            return refuse(field("destination"), "must not contain a NUL byte");
        }
        no_nul(&field("options"), mount.options().as_deref().unwrap_or_default())?;
        let mapped = |m: &Option<Vec<_>>| m.as_ref().is_some_and(|m| !m.is_empty());
        if mapped(mount.uid_mappings()) != mapped(mount.gid_mappings()) {
            let reason = "uidMappings and gidMappings must be specified together";
            return refuse(field("uidMappings"), reason);
        }
    }
    Ok(())
}

/// Host and domain name.
fn names(spec: &Spec, namespaces: &Namespaces) -> Result {
    let set = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    if set(spec.hostname()) && !namespaces.has(LinuxNamespaceType::Uts) {
        return refuse("hostname", "unable to set hostname without a private UTS namespace");
    }
    if set(spec.domainname()) && !namespaces.has(LinuxNamespaceType::Uts) {
        return refuse("domainname", "unable to set domainname without a private UTS namespace");
    }
    Ok(())
}

#[allow(deprecated, reason = "prestart hooks are deprecated and still in use")]
fn hooks(spec: &Spec) -> Result {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let kinds = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (at, hook) in hooks.iter().flatten().enumerate() {
            let field = format!("hooks.{kind}[{at}]");
            if !hook.path().is_absolute() {
                return refuse(format!("{field}.path"), "must be an absolute path");
            }
            if hook.timeout().is_some_and(|t| t <= 0) {
                return refuse(format!("{field}.timeout"), "must be greater than zero");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
