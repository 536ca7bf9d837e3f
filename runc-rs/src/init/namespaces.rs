//! Joining and making namespaces, in the child. The pid namespace was dealt with by the parent before the fork, unless it has
//! to belong to a user namespace that only the child enters.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::fail::{Fail, Step};
use super::{Context, fail};
use crate::channel::{Channel, Message};
use crate::plan::namespaces::name;
use crate::rootless::is_unprivileged;
use crate::sys::process::{self, Fork};
use crate::sys::{credentials, mounts as sys, net};

/// Whether the pid namespace of this plan is made by the child itself: after it entered the user namespace that shall own it, or
/// because what goes on in a new time namespace is a child of the one that made it.
pub(crate) fn child_makes_pid_namespace(plan: &crate::plan::Plan) -> bool {
    let new = plan.namespaces.new;
    new & libc::CLONE_NEWPID != 0 && (plan.namespaces.in_user_namespace() || new & libc::CLONE_NEWTIME != 0)
}

/// Whether the pid namespace to be joined is joined by the child itself: an ordinary user may do so only from within the user namespace,
/// and the first process of a new time namespace is made after the pid namespace was joined.
pub(crate) fn child_joins_pid_namespace(plan: &crate::plan::Plan) -> bool {
    plan.namespaces.in_user_namespace() && is_unprivileged() || plan.namespaces.new & libc::CLONE_NEWTIME != 0
}

/// Joins what is to be joined and makes what is to be made. May return in another process than the one that called it: a sibling,
/// and a child of the same parent.
pub(crate) fn enter(context: &Context<'_>) -> Result<(), Fail> {
    let plan = context.plan;
    for (flag, fd) in &context.joins {
        join(*flag, fd)?;
    }
    let new = plan.namespaces.new;
    if new & libc::CLONE_NEWUSER != 0 {
        sys::unshare(libc::CLONE_NEWUSER).step(|| "unshare of the user namespace")?;
        be_mapped(context)?;
    }
    if plan.namespaces.in_user_namespace() {
        become_root()?;
    }
    let now = new & !(libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP | libc::CLONE_NEWPID);
    sys::unshare(now).step(|| "unshare of the namespaces")?;
    if let Some(clocks) = context.progress.clocks.take() {
        rustix::io::write(clocks, plan.time_offsets.as_bytes()).step(|| "write /proc/self/timens_offsets")?;
    }
    let makes_pid_namespace = child_makes_pid_namespace(plan);
    if makes_pid_namespace {
        sys::unshare(libc::CLONE_NEWPID).step(|| "unshare of the pid namespace")?;
    }
    let joins_pid_namespace = context.joins.iter().any(|(flag, _)| *flag == libc::CLONE_NEWPID);
    // Before Linux 6.3 a process enters its new time namespace only by being forked.
    if makes_pid_namespace || joins_pid_namespace || new & libc::CLONE_NEWTIME != 0 {
        // The parent's first word is about the cgroup; the next one is for the process that goes on.
        context.enter_cgroup()?;
        hand_on(&context.channel)?;
        context.progress.pid.set(context.wait_go()?);
    }
    if new & libc::CLONE_NEWNET != 0 {
        net::loopback_up().step(|| "setting lo up")?;
    }
    if !context.devices.is_empty() {
        context.enter_cgroup()?;
        let names = crate::netdevices::choose_names(context.devices)?;
        let asked = context.channel.send(&Message::MoveDevices);
        asked.step(|| "ask for the network devices")?;
        context.wait_go()?;
        crate::netdevices::set_addresses(context.devices, &names)?;
    }
    Ok(())
}

/// The file that takes the offsets of a time namespace. Once the process is hidden it belongs to root.
pub(super) fn open_clocks() -> Result<OwnedFd, Fail> {
    let path = c"/proc/self/timens_offsets";
    openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).step(|| "open /proc/self/timens_offsets")
}

/// Lets the parent map the ids of the user namespace just made.
fn be_mapped(context: &Context<'_>) -> Result<(), Fail> {
    // For an ordinary user's parent the files to write are his own only as long as this process is not hidden.
    let show = is_unprivileged();
    if show {
        process::set_dumpable(true).step(|| "prctl PR_SET_DUMPABLE")?;
    }
    context
        .channel
        .send(&Message::MapUsers)
        .step(|| "ask for the user mappings")?;
    context.wait_go()?;
    if show && context.hide {
        process::set_dumpable(false).step(|| "prctl PR_SET_DUMPABLE")?;
    }
    Ok(())
}

/// Goes on as a new process, the caller's sibling, which is born into the pid namespace set for children.
pub(super) fn hand_on(channel: &Channel) -> Result<(), Fail> {
    if let Fork::Parent(pid) = process::fork_sibling().step(|| "clone into the pid namespace")? {
        channel
            .send(&Message::Successor(pid))
            .step(|| "tell the successor's pid")?;
        process::exit_now(0);
    }
    Ok(())
}

fn join(flag: i32, fd: &OwnedFd) -> Result<(), fail::Fail> {
    sys::setns(fd, flag).step(|| format!("setns to the {} namespace", name(flag)))
}

/// In a user namespace the ids are those of the host's caller until they are changed: files must belong to the container's root.
pub(crate) fn become_root() -> Result<(), Fail> {
    // A namespace without a mapping for 0 leaves the ids as they are.
    for result in [credentials::set_gid(0), credentials::set_uid(0)] {
        match result {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                return Err(error).step(|| "become root in the user namespace");
            }
            _ => {}
        }
    }
    // Where setgroups is denied there is nothing to drop.
    match credentials::set_groups(&[]) {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => Err(error).step(|| "setgroups"),
        _ => Ok(()),
    }
}
