//! The child: executes a plan and becomes the container's process.
//!
//! It runs between a `fork` of a possibly multi-threaded program and an `execve`. Nothing here takes a lock of the parent's, and
//! every descriptor of the host that is not needed is closed first.

mod cgroup_mount;
pub(crate) mod console;
mod copy_up;
mod dev;
pub(crate) mod fail;
pub(crate) mod finish;
pub(crate) mod join;
mod labels;
mod mask;
pub(crate) mod mount;
mod mountinfo;
pub(crate) mod namespaces;
mod passwd;
mod procfs;
mod rootfs;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::Mode;
use rustix::process::setsid;

use crate::channel::{Channel, Message};
use crate::hooks::{self, HookState};
use crate::plan::Plan;
use crate::seccomp::{Filter, Handover};
use crate::sources::Source;
use crate::spawn::Birth;
use crate::sys::environment::Area;
use crate::sys::{credentials, mounts as sys, process};
use fail::{Fail, Step};

/// Everything the child of `create` needs beside the plan: opened or computed before the fork.
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) channel: Channel,
    /// Open for reading and writing: a read waits for `start`.
    pub(crate) fifo: OwnedFd,
    /// Namespaces to join, without a pid namespace that was joined before the fork.
    pub(crate) joins: Vec<(i32, OwnedFd)>,
    /// Whether the process is to be hidden from others of its user: always, save for an ordinary user's that joins nobody, so that his
    /// hooks and network helpers reach its namespaces.
    pub(crate) hide: bool,
    pub(crate) cgroup_files: CgroupFiles,
    pub(crate) cgroup_steps: Vec<runc_rs_cgroups::mounts::Step>,
    /// For each mount, what had to be made ready outside the container's user namespace.
    pub(crate) sources: Vec<Option<Source>>,
    /// Devices that the parent moves into the network namespace.
    pub(crate) devices: &'a [crate::netdevices::Device],
    /// What becomes 0, 1, 2; the caller's own when absent.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) preserve_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) keyring: Option<CString>,
    pub(crate) seccomp: Option<&'a Filter>,
    /// Where the filter's listener goes.
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) hook_state: HookState<'a>,
    /// Where the caller's environment lies in memory.
    pub(crate) environment: Area,
    pub(crate) progress: Progress,
}

/// What the child has done so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// How it was born.
    birth: Cell<Birth>,
    /// It is in its cgroup.
    in_cgroup: Cell<bool>,
    /// It is in its cgroup namespace.
    in_cgroup_namespace: Cell<bool>,
    /// Its process id in the parent's namespace, once told.
    pid: Cell<i32>,
    /// `/proc/self/timens_offsets`, opened while it still belonged to the process.
    clocks: RefCell<Option<OwnedFd>>,
}

impl Context<'_> {
    /// The descriptors the child needs, ascending.
    fn needed(&self) -> Vec<RawFd> {
        let mut fds: Vec<RawFd> = vec![
            std::os::fd::AsFd::as_fd(&self.channel).as_raw_fd(),
            self.fifo.as_raw_fd(),
        ];
        fds.extend(self.joins.iter().map(|(_, fd)| fd.as_raw_fd()));
        fds.extend(self.listener.iter().map(AsRawFd::as_raw_fd));
        fds.extend(self.sources.iter().flatten().map(Source::as_raw_fd));
        fds.extend(self.stdio.iter().flatten().map(AsRawFd::as_raw_fd));
        with_preserved(fds, self.preserve_fds)
    }

    /// Waits for the parent's word; returns the process id it tells.
    fn wait_go(&self) -> Result<i32, Fail> {
        match self.channel.receive().step(|| "wait for the parent")? {
            Some(Message::Go(pid)) => Ok(pid),
            _ => Err(Fail::new("the parent is gone")),
        }
    }

    fn handover(&self) -> Option<Handover<'_>> {
        let pid = self.progress.pid.get();
        let state = HookState {
            pid,
            ..self.hook_state.clone()
        };
        handover(self.seccomp, self.listener.as_ref(), pid, &state)
    }

    /// Moves into the cgroup, once the parent has made it.
    fn enter_cgroup(&self) -> Result<(), Fail> {
        if self.progress.in_cgroup.replace(true) {
            return Ok(());
        }
        self.progress.pid.set(self.wait_go()?);
        self.cgroup_files.enter(self.progress.birth.get())?;
        finish::reset_affinity();
        Ok(())
    }

    /// Moves into the cgroup and makes it the root of a cgroup namespace, where one is asked for.
    fn enter_cgroup_namespace(&self) -> Result<(), Fail> {
        self.enter_cgroup()?;
        if self.plan.namespaces.new & libc::CLONE_NEWCGROUP != 0 && !self.progress.in_cgroup_namespace.replace(true) {
            sys::unshare(libc::CLONE_NEWCGROUP).step(|| "unshare of the cgroup namespace")?;
        }
        Ok(())
    }
}

/// How the filter's listener is given away, when there is one.
pub(crate) fn handover<'a>(
    filter: Option<&'a Filter>,
    socket: Option<&'a OwnedFd>,
    pid: i32,
    state: &HookState<'a>,
) -> Option<Handover<'a>> {
    let metadata = &filter?.listener.as_ref()?.metadata;
    Some(Handover {
        socket: socket?,
        pid,
        metadata,
        state: state.clone(),
    })
}

/// `fds` and the preserved ones from 3 on, sorted.
pub(crate) fn with_preserved(mut fds: Vec<RawFd>, preserve_fds: u32) -> Vec<RawFd> {
    fds.extend((0..preserve_fds).filter_map(|n| RawFd::try_from(n.checked_add(3)?).ok()));
    fds.sort_unstable();
    fds.dedup();
    fds
}

/// The files into which a `0` moves the writer into the container's cgroup.
#[derive(Debug, Default)]
pub(crate) struct CgroupFiles {
    pub(crate) v1: Vec<CString>,
    pub(crate) v2: Vec<CString>,
    /// Those of Intel RDT.
    pub(crate) resctrl: Vec<CString>,
    /// A file that may not be written is passed over.
    pub(crate) forgive: bool,
    /// systemd can put a process there that may not go by itself: a user may move it only where its old place is his, too.
    pub(crate) manager: bool,
    /// Whose cgroup to enter on v2 instead, when the container's takes no processes any more.
    pub(crate) fallback: Option<i32>,
}

impl CgroupFiles {
    /// Moves the calling process into the cgroup; on v2 only when it was not born there.
    ///
    /// Whether it may not, and a manager can put it there (see [`Self::manager`]).
    fn enter(&self, birth: Birth) -> Result<bool, Fail> {
        use rustix::fs::{CWD, OFlags, openat};
        use rustix::io::Errno;
        let v2: &[CString] = if birth.in_cgroup2 { &[] } else { &self.v2 };
        let mut refused = false;
        for file in self.v1.iter().chain(v2) {
            let step = || format!("join the cgroup by {}", file.to_string_lossy());
            let enter = |file: &CString| {
                let fd = openat(CWD, file.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
                rustix::io::write(&fd, b"0")
            };
            let entered = match (enter(file), self.fallback) {
                // Its controllers were handed on to cgroups beneath it: those alone may have processes.
                (Err(error @ (Errno::BUSY | Errno::OPNOTSUPP)), Some(pid)) => {
                    crate::cgroup::file_of(pid).map_or(Err(error), |file| enter(&file))
                }
                (entered, _) => entered,
            };
            match entered {
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if self.manager => refused = true,
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if self.forgive => {}
                result => drop(result.step(step)?),
            }
        }
        for file in &self.resctrl {
            let step = || format!("intelrdt: unable to add the process by {}", file.to_string_lossy());
            let fd = openat(CWD, file.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
            rustix::io::write(&fd, b"0").step(step)?;
        }
        Ok(refused)
    }
}

/// First steps of every child: the caller's environment is gone, only the descriptors in `keep` stay open, signals are as in a fresh
/// program, and with `hide` no process of a container may trace it or read its memory when it joins.
pub(crate) fn quarantine(keep: &[RawFd], environment: Area, hide: bool) -> Result<(), Fail> {
    environment.wipe();
    process::close_all_but(keep).step(|| "close_range")?;
    process::reset_signals();
    if hide {
        process::set_dumpable(false).step(|| "prctl PR_SET_DUMPABLE")?;
    }
    Ok(())
}

/// Runs the child of `create`. Never returns.
pub(crate) fn run(context: &Context<'_>, birth: Birth) -> ! {
    context.progress.birth.set(birth);
    match stages(context) {
        Ok(never) => match never {},
        Err((Fail(text), told)) => {
            // After the parent has gone its way, the container's own standard error is the only place left.
            if told {
                let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
                process::exit_now(255);
            }
            let _ = context.channel.send(&Message::Failed(text));
            process::exit_now(1);
        }
    }
}

/// All stages; the flag of the error says whether the parent has stopped listening.
fn stages(context: &Context<'_>) -> Result<Infallible, (Fail, bool)> {
    let program = prepare(context).map_err(|fail| (fail, false))?;
    Err((launch(context, &program), true))
}

fn prepare(context: &Context<'_>) -> Result<finish::Program, Fail> {
    let plan = context.plan;
    finish::set_oom_score(&plan.process)?;
    let mut needed = context.needed();
    if !plan.time_offsets.is_empty() {
        let clocks = namespaces::open_clocks()?;
        needed.push(clocks.as_raw_fd());
        needed.sort_unstable();
        context.progress.clocks.replace(Some(clocks));
    }
    quarantine(&needed, context.environment, context.hide)?;
    rustix::process::umask(Mode::empty());
    if plan.namespaces.in_user_namespace() {
        // What only the host's root may do comes before the user namespace.
        context.enter_cgroup()?;
        finish::set_rlimits(&plan.process)?;
    }
    namespaces::enter(context)?;
    setsid().step(|| "setsid")?;
    if let Some(name) = &context.keyring {
        join_keyring(name, plan.process.selinux_label.as_deref())?;
    }
    let console = build_root(context)?;
    set_streams(console.as_ref(), context.stdio.as_ref(), plan.process.uid)?;
    set_names(plan)?;
    finish::set_labels(&plan.process)?;
    finish::set_scheduling(&plan.process)?;
    if !plan.namespaces.in_user_namespace() {
        finish::set_rlimits(&plan.process)?;
    }
    restrict(
        &plan.process,
        context.seccomp,
        context.handover().as_ref(),
        context.hide,
    )
}

/// Standard streams: the terminal, or the given descriptors, or the caller's.
pub(crate) fn set_streams(console: Option<&OwnedFd>, stdio: Option<&[OwnedFd; 3]>, uid: u32) -> Result<(), Fail> {
    if let Some(console) = console {
        return console::take_over(console, uid);
    }
    for (target, fd) in (0..).zip(stdio.into_iter().flatten()) {
        process::dup_to(fd, target).step(|| "dup of a standard stream")?;
    }
    Ok(())
}

/// From here on the process has only the privileges of the container's program.
pub(crate) fn restrict(
    plan: &crate::plan::process::ProcessPlan,
    seccomp: Option<&Filter>,
    handover: Option<&Handover<'_>>,
    hide: bool,
) -> Result<finish::Program, Fail> {
    if plan.no_new_privileges {
        credentials::set_no_new_privileges().step(|| "unable to set no new privileges")?;
    }
    // Without no_new_privs a filter needs a privilege that is about to be dropped.
    if let (Some(filter), false) = (seccomp, plan.no_new_privileges) {
        filter.load(handover)?;
    }
    finish::drop_privileges(plan, hide)?;
    finish::find_program(plan)
}

/// Everything up to `pivot_root`. Returns the terminal, when there is one.
fn build_root(context: &Context<'_>) -> Result<Option<OwnedFd>, Fail> {
    let plan = context.plan;
    let mut rootfs = rootfs::Rootfs::new(plan)?;
    rootfs.mount_all(plan, &context.cgroup_steps, &context.sources, || {
        context.enter_cgroup_namespace()
    })?;
    context.enter_cgroup_namespace()?;
    rootfs.make_dev(plan)?;
    run_hooks(context)?;
    let console = if context.plan.process.terminal {
        Some(make_console(context, &rootfs)?)
    } else {
        None
    };
    rootfs.seal(plan)?;
    rootfs.enter(plan, context.no_pivot)?;
    Ok(console)
}

/// Makes the terminal, binds it to `/dev/console` and gives the parent its master. Returns the slave.
fn make_console(context: &Context<'_>, rootfs: &rootfs::Rootfs) -> Result<OwnedFd, Fail> {
    let pty = console::open(rootfs.root(), context.plan.process.console_size)?;
    if context.plan.set_up_dev {
        dev::bind_console(rootfs.root(), &pty.slave)?;
    }
    context
        .channel
        .send(&Message::Console(pty.master))
        .step(|| "send the console")?;
    Ok(pty.slave)
}

/// `prestart` and `createRuntime` run in the parent, `createContainer` here; all before the root is changed.
fn run_hooks(context: &Context<'_>) -> Result<(), Fail> {
    let hooks = &context.plan.hooks;
    if hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && hooks.create_container.is_empty()
        && hooks.start_container.is_empty()
    {
        return Ok(());
    }
    context.channel.send(&Message::RunHooks).step(|| "ask for the hooks")?;
    let pid = context.wait_go()?;
    context.progress.pid.set(pid);
    let state = state_inside(context, crate::Status::Creating);
    hooks::run("createContainer", &hooks.create_container, &state).map_err(|error| Fail(error.to_string()))
}

/// The state for hooks in the container's namespaces: they see this process by the number that it has there.
fn state_inside<'a>(context: &Context<'a>, status: crate::Status) -> HookState<'a> {
    HookState {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        status,
        ..context.hook_state.clone()
    }
}

/// Joins a session keyring of this name, labelled as the process will be.
pub(crate) fn join_keyring(name: &CString, label: Option<&str>) -> Result<(), Fail> {
    let label = labels::KeyLabel::set(label)?;
    match credentials::join_session_keyring(name) {
        // A kernel without keyrings has none to protect.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        result => result.step(|| "unable to join session keyring")?,
    }
    label.clear()
}

/// Host name, domain name, kernel parameters.
fn set_names(plan: &Plan) -> Result<(), Fail> {
    if let Some(name) = &plan.hostname {
        credentials::set_host_name(name.as_bytes()).step(|| "sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        credentials::set_domain_name(name.as_bytes()).step(|| "setdomainname")?;
    }
    if !plan.sysctl.is_empty() {
        let procfs = procfs::Procfs::new()?;
        for (path, value) in &plan.sysctl {
            procfs.write(&format!("sys/{path}"), value.as_bytes())?;
        }
    }
    Ok(())
}

/// Tells the parent that all is set up, waits for `start`, executes. Returns only on failure.
fn launch(context: &Context<'_>, program: &finish::Program) -> Fail {
    let waited = context
        .channel
        .send(&Message::Ready)
        .step(|| "tell the parent")
        // A parent that dies before it has written down who we are leaves nobody who could find us.
        .and_then(|()| read_one(&context.channel, "wait until the parent has written us down"))
        .and_then(|()| read_one(&context.fifo, "read the start fifo"));
    if let Err(fail) = waited {
        return fail;
    }
    let hooks = &context.plan.hooks.start_container;
    if !hooks.is_empty() {
        let state = state_inside(context, crate::Status::Created);
        if let Err(error) = hooks::run("startContainer", hooks, &state) {
            let text = error.to_string();
            // Whoever started us waits for it; somebody who has left meanwhile does not.
            let _ = rustix::io::write(&context.fifo, text.as_bytes());
            return Fail(text);
        }
    }
    let handover = context.handover();
    program.execute(context.preserve_fds, || match context.seccomp {
        Some(filter) if context.plan.process.no_new_privileges => filter.load(handover.as_ref()),
        _ => Ok(()),
    })
}

/// Waits for something to read, by the one call that a filter that is in force already must allow anyway.
fn read_one(from: impl std::os::fd::AsFd, what: &'static str) -> Result<(), Fail> {
    let mut bytes = [0_u8; 8];
    loop {
        match rustix::io::read(from.as_fd(), &mut bytes) {
            Ok(0) => return Err(Fail(format!("{what}: the other end is closed"))),
            Ok(_) => return Ok(()),
            // As in `Channel::receive`.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            Err(error) => return Err(error).step(|| what),
        }
    }
}
