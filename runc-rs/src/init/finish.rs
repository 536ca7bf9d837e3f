//! The last steps of a container process, the same for `create` and `exec`: privileges down, directory, program.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{chdir, getcwd};

use super::fail::{Fail, Step};
use super::passwd;
use super::procfs::Procfs;
use crate::plan::process::ProcessPlan;
use crate::sys::{credentials, process, scheduling};
use crate::words::Words;

/// What `execve` will be called with.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// The score by which the kernel picks its victims, through the host's `/proc`: before the process is cut off from it.
pub(crate) fn set_oom_score(plan: &ProcessPlan) -> Result<(), Fail> {
    let Some(score) = plan.oom_score_adj else { return Ok(()) };
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).step(|| "write /proc/self/oom_score_adj")
}

/// Resource limits.
pub(crate) fn set_rlimits(plan: &ProcessPlan) -> Result<(), Fail> {
    for (resource, soft, hard) in &plan.rlimits {
        credentials::set_rlimit(*resource, *soft, *hard).step(|| format!("error setting rlimit type {resource}"))?;
    }
    Ok(())
}

/// Security labels for the coming `execve`, through a procfs of our own.
pub(crate) fn set_labels(plan: &ProcessPlan) -> Result<(), Fail> {
    if let Some(profile) = &plan.apparmor_profile {
        let value = format!("exec {profile}");
        let procfs = Procfs::new()?;
        // Kernels from 5.8 have a directory for the module's own; older ones share one file.
        procfs
            .write("self/attr/apparmor/exec", value.as_bytes())
            .or_else(|_| procfs.write("self/attr/exec", value.as_bytes()))
            .map_err(|Fail(why)| {
                Fail(format!(
                    "unable to apply apparmor profile: apparmor failed to apply profile: {why}"
                ))
            })?;
    }
    if let Some(label) = &plan.selinux_label {
        Procfs::new()?
            .write("self/attr/exec", label.as_bytes())
            .map_err(|Fail(why)| Fail(format!("unable to set process label: {why}")))?;
    }
    Ok(())
}

/// Personality, memory nodes, scheduling, I/O class: what needs privileges that are dropped next.
pub(crate) fn set_scheduling(plan: &ProcessPlan) -> Result<(), Fail> {
    if let Some(personality) = plan.personality {
        scheduling::set_personality(personality).step(|| "personality")?;
    }
    if let Some(policy) = &plan.memory_policy {
        scheduling::set_memory_policy(policy.mode, &policy.nodes).step(|| "error setting memory policy")?;
    }
    if let Some(scheduler) = &plan.scheduler {
        scheduling::set_scheduler(scheduler).step(|| "error setting scheduler")?;
    }
    if let Some((class, level)) = plan.io_priority {
        scheduling::set_io_priority(class, level).step(|| "failed to set io priority")?;
    }
    Ok(())
}

/// All processors that the cgroup has: a container does not inherit those that its caller happened to be bound to (runc since 1.4).
pub(crate) fn reset_affinity() {
    // Processors that are isolated, or a kernel that refuses: then it stays as it is.
    let _ = scheduling::set_affinity(&[u64::MAX; 128]);
}

/// Privileges down to what the plan grants, and into the working directory. With `hide` nobody of the same user may look into the process.
pub(crate) fn drop_privileges(plan: &ProcessPlan, hide: bool) -> Result<(), Fail> {
    // A configuration that says nothing of capabilities grants none: the caller's, inheritable ones included, are not the container's.
    let masks = plan.capabilities.unwrap_or_default();
    credentials::limit_bounding_set(masks.bounding).step(|| "unable to apply bounding set")?;
    credentials::keep_capabilities(true).step(|| "unable to set keep caps")?;
    own_streams(plan.uid)?;
    set_groups(&plan.groups)?;
    set_id(credentials::set_gid(plan.gid), "gid")?;
    let entered = chdir(&plan.cwd);
    set_id(credentials::set_uid(plan.uid), "uid")?;
    // Some directories only root may enter, some (on network filesystems) only the user.
    if entered.is_err() {
        chdir(&plan.cwd).step(|| {
            format!(
                "chdir to cwd ({:?}) set in config.json failed",
                plan.cwd.display().to_string()
            )
        })?;
    }
    check_cwd()?;
    credentials::keep_capabilities(false).step(|| "unable to clear keep caps")?;
    credentials::set_capabilities(&masks).step(|| "unable to apply caps")?;
    credentials::set_ambient(masks.ambient).map_err(|(capability, error)| {
        Fail(format!(
            "unable to apply ambient capability {capability}: {}",
            Words(&error)
        ))
    })?;
    // A change of ids sets it to `fs.suid_dumpable`, which an administrator may have opened.
    if hide {
        process::set_dumpable(false).step(|| "prctl PR_SET_DUMPABLE")?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask & 0o7777));
    Ok(())
}

/// A directory reached through a leaked descriptor lies outside the root, and the kernel says so (CVE-2024-21626).
fn check_cwd() -> Result<(), Fail> {
    let cwd = getcwd(Vec::new()).step(|| "getcwd")?;
    if cwd.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Fail::new(
        "current working directory is outside of container mount namespace root -- possible container breakout attempt",
    ))
}

fn set_groups(groups: &[u32]) -> Result<(), Fail> {
    match credentials::set_groups(groups) {
        // Denied in a user namespace: there were none to keep.
        Err(error) if groups.is_empty() && error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Err(Fail::new("cannot set any additional groups in a rootless container"))
        }
        result => result.step(|| "setgroups"),
    }
}

/// EINVAL is an id that the user namespace does not map.
fn set_id(result: io::Result<()>, kind: &str) -> Result<(), Fail> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err(Fail(format!("cannot set {kind} to unmapped user in user namespace")))
        }
        result => result.step(|| format!("set{kind}")),
    }
}

/// The standard streams belong to the process's user, or a program that opens `/dev/stdout` would be refused.
fn own_streams(uid: u32) -> Result<(), Fail> {
    let null = fs::makedev(1, 3);
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // A closed stream has no owner.
        let Ok(stat) = fs::fstat(stream) else { continue };
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == null;
        if stat.st_uid == uid || is_null {
            continue;
        }
        match fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS) => {}
            Err(error) => return Err(error).step(|| "chown of a standard stream"),
        }
    }
    Ok(())
}

/// Finds the program as the user it will run as, and completes the environment.
pub(crate) fn find_program(plan: &ProcessPlan) -> Result<Program, Fail> {
    let mut env = plan.env.clone();
    if plan.variable("HOME").is_none_or(<[u8]>::is_empty) {
        env.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        if let Ok(home) = CString::new(format!("HOME={}", passwd::home(plan.uid))) {
            env.push(home);
        }
    }
    let name = plan.args.first().ok_or_else(|| Fail::new("args must not be empty"))?;
    let path = look_up(name.as_bytes(), plan.variable("PATH"))?;
    Ok(Program {
        path,
        args: plan.args.clone(),
        env,
    })
}

/// Go's `exec.LookPath`, with its words: containerd and Docker derive exit codes 126 and 127 from them.
fn look_up(name: &[u8], path: Option<&[u8]>) -> Result<CString, Fail> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Fail::new("a path contains a NUL byte"));
    if name.contains(&b'/') {
        return match executable(name) {
            Ok(()) => text(name),
            Err(Errno::NOENT) => Err(Fail(format!(
                "exec: {shown:?}: stat {shown}: no such file or directory"
            ))),
            Err(error) => Err(Fail(format!("exec: {shown:?}: {}", Words(&error.into())))),
        };
    }
    let mut refused = None;
    for directory in path.unwrap_or_default().split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = [directory, b"/", name].concat();
        match executable(&candidate) {
            Ok(()) => return text(&candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) if error != Errno::ACCESS => Err(Fail(format!("exec: {shown:?}: {}", Words(&error.into())))),
        _ => Err(Fail(format!("exec: {shown:?}: executable file not found in $PATH"))),
    }
}

fn executable(path: &[u8]) -> Result<(), Errno> {
    let path = Path::new(OsStr::from_bytes(path));
    let stat = fs::statat(CWD, path, fs::AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ACCESS);
    }
    fs::accessat(CWD, path, fs::Access::EXEC_OK, fs::AtFlags::EACCESS)
}

impl Program {
    /// Closes what must not leak, puts the filter in force, and executes. Returns only on failure.
    ///
    /// After the filter there is nothing but `execve`: a policy need not allow what the runtime itself calls.
    pub(crate) fn execute(&self, preserve_fds: u32, filter: impl FnOnce() -> Result<(), Fail>) -> Fail {
        if let Err(error) = process::close_on_exec_from(preserve_fds.saturating_add(3)) {
            return Fail(format!("close_range: {}", Words(&error)));
        }
        if let Err(fail) = filter() {
            return fail;
        }
        let error: io::Error = process::execve(&self.path, &self.args, &self.env);
        Fail(format!("exec {}: {}", self.path.to_string_lossy(), Words(&error)))
    }
}
