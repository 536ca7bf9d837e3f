//! The child of `exec`: joins a container and becomes a further process of it.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::setsid;

use super::fail::{Fail, Step};
use super::{
    CgroupFiles, console, finish, handover, join_keyring, namespaces, quarantine, restrict, set_streams, with_preserved,
};
use crate::channel::{Channel, Message};
use crate::hooks::HookState;
use crate::plan::process::ProcessPlan;
use crate::seccomp::Filter;
use crate::spawn::Birth;
use crate::sys::environment::Area;
use crate::sys::{mounts as sys, process, scheduling};

/// Everything the child of `exec` needs.
pub(crate) struct JoinContext<'a> {
    pub(crate) plan: &'a ProcessPlan,
    pub(crate) channel: Channel,
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// `CLONE_NEW*` flags of the container's namespaces that are still to be joined. The pid namespace is among them where that takes
    /// the container's user namespace first.
    pub(crate) namespaces: i32,
    pub(crate) cgroup_files: CgroupFiles,
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) preserve_fds: u32,
    pub(crate) keyring: Option<CString>,
    pub(crate) seccomp: Option<&'a Filter>,
    /// Where the filter's listener goes.
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) state: HookState<'a>,
    /// Where the caller's environment lies in memory.
    pub(crate) environment: Area,
}

/// Runs the child of `exec`. Never returns.
pub(crate) fn run(context: &JoinContext<'_>, birth: Birth) -> ! {
    let Fail(text) = match stages(context, birth) {
        Ok(never) => match never {},
        Err(fail) => fail,
    };
    // A parent that is gone has nobody to tell.
    let _ = context.channel.send(&Message::Failed(text));
    process::exit_now(1);
}

fn stages(context: &JoinContext<'_>, birth: Birth) -> Result<Infallible, Fail> {
    let plan = context.plan;
    finish::set_oom_score(plan)?;
    let mut keep: Vec<RawFd> = vec![context.channel.as_fd().as_raw_fd(), context.init.as_raw_fd()];
    keep.extend(context.listener.iter().map(AsRawFd::as_raw_fd));
    keep.extend(context.stdio.iter().flatten().map(AsRawFd::as_raw_fd));
    quarantine(&with_preserved(keep, context.preserve_fds), context.environment, true)?;
    enter_cgroup(context, birth)?;
    finish::set_rlimits(plan)?;
    sys::setns(&context.init, context.namespaces).step(|| "setns to the container's namespaces")?;
    if context.namespaces & libc::CLONE_NEWUSER != 0 {
        namespaces::become_root()?;
    }
    if context.namespaces & libc::CLONE_NEWPID != 0 {
        namespaces::hand_on(&context.channel)?;
    }
    setsid().step(|| "setsid")?;
    if let Some(name) = &context.keyring {
        join_keyring(name, plan.selinux_label.as_deref())?;
    }
    let console = if context.plan.terminal {
        Some(make_console(context)?)
    } else {
        None
    };
    set_streams(console.as_ref(), context.stdio.as_ref(), plan.uid)?;
    finish::set_labels(plan)?;
    finish::set_scheduling(plan)?;
    let pid = match &context.listener {
        Some(_) => ask(context, &Message::TellPid)?,
        None => 0,
    };
    let handover = handover(context.seccomp, context.listener.as_ref(), pid, &context.state);
    let program = restrict(plan, context.seccomp, handover.as_ref(), true)?;
    context.channel.send(&Message::Ready).step(|| "tell the parent")?;
    Err(program.execute(context.preserve_fds, || match context.seccomp {
        Some(filter) if plan.no_new_privileges => filter.load(handover.as_ref()),
        _ => Ok(()),
    }))
}

/// Has the parent do something; its answer is our process id in its namespace.
fn ask(context: &JoinContext<'_>, what: &Message) -> Result<i32, Fail> {
    context.channel.send(what).step(|| "ask the parent")?;
    match context.channel.receive().step(|| "wait for the parent")? {
        Some(Message::Go(pid)) => Ok(pid),
        _ => Err(Fail::new("the parent is gone")),
    }
}

/// Into the container's cgroup, on the processors asked for before and after.
fn enter_cgroup(context: &JoinContext<'_>, birth: Birth) -> Result<(), Fail> {
    let affinity = &context.plan.cpu_affinity;
    if !affinity.initial.is_empty() {
        scheduling::set_affinity(&affinity.initial).step(|| "error setting initial CPU affinity")?;
    }
    if context.cgroup_files.enter(birth)? {
        ask(context, &Message::EnterCgroup)?;
    }
    if !affinity.last.is_empty() {
        scheduling::set_affinity(&affinity.last).step(|| "error setting CPU affinity")?;
    } else if affinity.is_empty() {
        finish::reset_affinity();
    }
    Ok(())
}

fn make_console(context: &JoinContext<'_>) -> Result<OwnedFd, Fail> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, c"/", flags, Mode::empty()).step(|| "open /")?;
    let pty = console::open(root.as_fd(), context.plan.console_size)?;
    context
        .channel
        .send(&Message::Console(pty.master))
        .step(|| "send the console")?;
    Ok(pty.slave)
}
