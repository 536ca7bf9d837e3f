//! `create`: from a bundle to a process that waits for `start`.
//!
//! The parent makes the cgroup, forks, and sets the limits while the child makes namespaces and mounts; they meet where the child
//! enters the cgroup. Whatever fails, everything is taken back: process, cgroup, directory.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use runc_rs_cgroups::{Cgroup, Host};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::cgroup::Maker;
use crate::channel::{Channel, Message};
use crate::checks::{
    check_io, check_joined_mappings, check_labels, check_root_propagation, check_rootfs, open_namespaces,
};
use crate::hooks::{self, HookState};
use crate::init::namespaces::child_makes_pid_namespace;
use crate::init::{self, CgroupFiles, Context};
use crate::options::{CreateOptions, Created, Io};
use crate::plan::Plan;
use crate::record::{Record, VERSION};
use crate::rootless::is_unprivileged;
use crate::seccomp::Filter;
use crate::spawn::{self, PidNamespace};
use crate::store::{Directory, write_atomically};
use crate::sys::process;
use crate::{Error, Status, cgroup, intel_rdt, netdevices, procinfo, sockets};

/// Everything that is known before anything is made.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) spec: Spec,
    pub(crate) filter: Option<Filter>,
    pub(crate) host: Host,
    pub(crate) cgroup: Cgroup,
    pub(crate) maker: Maker,
    pub(crate) rootless: bool,
    joins: Vec<(i32, OwnedFd)>,
    pid_namespace: PidNamespace,
    devices: Vec<netdevices::Device>,
    pub(crate) intel_rdt: Option<intel_rdt::Groups>,
    pub(crate) warnings: Vec<String>,
}

/// The directory for readiness messages, beside the record.
const NOTIFY: &str = "notify";

/// Creates container `id` in the state directory `root`.
pub(crate) fn create(root: &Path, id: &str, mut options: CreateOptions) -> Result<Created, Error> {
    crate::store::check_id(id)?;
    let notify = options.notify_socket.then(|| root.join(id).join(NOTIFY));
    let mut prepared = prepare(id, &mut options, notify.as_deref())?;
    // The lock is held until everything is made, or taken back.
    let (directory, _lock) = Directory::create(root, id)?;
    let mut undo = Undo {
        directory,
        cgroup: None,
        resctrl: Vec::new(),
        pid: None,
        poststop: None,
    };
    match build(&mut prepared, &mut undo, id, options) {
        Ok((pid, console)) => Ok(Created {
            pid,
            pidfd: open_pidfd(pid),
            console,
            warnings: prepared.warnings,
        }),
        Err(error) => {
            undo.run();
            Err(error)
        }
    }
}

pub(crate) fn open_pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Reads and checks all input.
pub(crate) fn prepare(id: &str, options: &mut CreateOptions, notify: Option<&Path>) -> Result<Prepared, Error> {
    let bundle = options
        .bundle
        .canonicalize()
        .map_err(|error| Error::file("open", &options.bundle, error))?;
    let (mut spec, mut warnings) = match options.spec.take() {
        Some(spec) => (spec, Vec::new()),
        None => crate::load_spec_with_warnings(&bundle)?,
    };
    if let Some(directory) = notify {
        let directory = std::path::absolute(directory).map_err(|error| Error::file("open", directory, error))?;
        crate::notify::add(&mut spec, &directory)?;
    }
    runtime_spec::validate(&spec).map_err(|error| Error::config(error.field, error.reason))?;
    let mut plan = Plan::new(&spec, &bundle, &mut warnings)?;
    plan.rootfs = check_rootfs(&plan.rootfs)?;
    check_io(plan.process.terminal, &options.io)?;
    check_labels(&plan)?;
    check_root_propagation(&plan, options.no_pivot)?;
    let linux = spec.linux().as_ref();
    let filter = linux
        .and_then(|linux| linux.seccomp().as_ref())
        .map(Filter::compile)
        .transpose()?;
    crate::rootless::check(&plan)?;
    let rootless = crate::rootless::applies(options.rootless);
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let (host, cgroup, maker) = cgroup::locate(path, id, options.cgroup_manager, rootless)?;
    let (joins, pid_namespace) = open_namespaces(&plan)?;
    check_joined_mappings(&spec, &joins, &mut warnings)?;
    Ok(Prepared {
        devices: netdevices::look_up(&plan.net_devices)?,
        intel_rdt: intel_rdt::locate(plan.intel_rdt.as_ref(), intel_rdt::find_root, id)?,
        plan,
        spec,
        filter,
        host,
        cgroup,
        maker,
        rootless,
        joins,
        pid_namespace,
        warnings,
    })
}

/// Makes the container. What is made is put into `undo` before it is made.
fn build(
    prepared: &mut Prepared,
    undo: &mut Undo,
    id: &str,
    options: CreateOptions,
) -> Result<(i32, Option<OwnedFd>), Error> {
    if options.notify_socket {
        let directory = undo.directory.path().join(NOTIFY);
        std::fs::create_dir(&directory).map_err(|error| Error::file("mkdir", &directory, error))?;
    }
    if let Some(filter) = &prepared.filter {
        undo.directory.save_filter(&filter.to_bytes())?;
    }
    let console_socket = match &options.io {
        Io::ConsoleSocket(path) => Some(sockets::connect_to(path)?),
        _ => None,
    };
    let (pid_file, pidfd_socket) = (options.pid_file.clone(), options.pidfd_socket.clone());
    let mut record = first_record(prepared, id, options.no_new_keyring);
    // Only what is made, or was found empty, may be emptied and removed again: not a cgroup that is somebody else's.
    cgroup::check_free(&prepared.cgroup)?;
    // From here on `delete` knows what to empty and remove, should we be killed.
    undo.directory.save(&record)?;
    undo.cgroup = Some(prepared.cgroup.clone());
    if let (Some(groups), Some(wanted)) = (&prepared.intel_rdt, &prepared.plan.intel_rdt) {
        undo.resctrl = groups.make(wanted)?;
    }
    let mut maker = std::mem::replace(&mut prepared.maker, Maker::Nobody);
    if let Maker::Files = maker {
        cgroup::make(&mut prepared.cgroup, &prepared.spec, prepared.rootless)?;
    }
    if prepared.cgroup.paths().is_empty() && !prepared.plan.namespaces.makes(libc::CLONE_NEWPID) {
        prepared.warnings.push(cgroup::UNCONTAINED.into());
    }
    let prepared = &*prepared;
    record.cgroup_paths.clone_from(prepared.cgroup.paths());
    let (channel, first) = fork(prepared, undo, &record, options)?;
    undo.pid = Some(first);
    if let Maker::Systemd(manager) = &mut maker {
        cgroup::start(manager, &prepared.cgroup, first, &prepared.spec)?;
    }
    if !matches!(maker, Maker::Nobody) {
        cgroup::limit(&prepared.cgroup, &prepared.spec, prepared.rootless)?;
        cgroup::delegate(&prepared.cgroup, &prepared.plan, prepared.rootless)?;
    }
    say_go(&channel, first)?;
    let (pid, console) = converse(prepared, undo, &channel, first, &record)?;
    if prepared.plan.process.terminal && console.is_none() {
        return Err(Error::Process("the terminal did not arrive".into()));
    }
    record.pid = pid;
    record.start_time = procinfo::read(pid)
        .filter(|info| !info.ended)
        .map(|info| info.start_time)
        .ok_or_else(|| Error::Process("the container's process has ended".into()))?;
    undo.directory.save(&record)?;
    // Until here our end would have been its end too.
    say_go(&channel, pid)?;
    let console = hand_over(console, console_socket)?;
    announce(pid, pid_file.as_deref(), pidfd_socket.as_deref())?;
    Ok((pid, console))
}

/// Sends the terminal to the socket where there is one, else gives it back for the caller.
pub(crate) fn hand_over(console: Option<OwnedFd>, socket: Option<OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    match (console, socket) {
        (Some(console), Some(socket)) => {
            sockets::send_fd(&socket, console.as_fd(), "/dev/ptmx")?;
            Ok(None)
        }
        (console, _) => Ok(console),
    }
}

/// Writes the pid file, sends the pidfd.
pub(crate) fn announce(pid: i32, pid_file: Option<&Path>, pidfd_socket: Option<&Path>) -> Result<(), Error> {
    if let Some(path) = pid_file {
        write_atomically(path, pid.to_string().as_bytes(), 0o644)?;
    }
    if let Some(path) = pidfd_socket {
        let pidfd = open_pidfd(pid).ok_or_else(|| Error::Process("the process has ended".into()))?;
        sockets::send_fd(sockets::connect_to(path)?, pidfd.as_fd(), &format!("{pid}"))?;
    }
    Ok(())
}

pub(crate) fn first_record(prepared: &Prepared, id: &str, no_new_keyring: bool) -> Record {
    let plan = &prepared.plan;
    let mut hooks = crate::plan::Hooks::default();
    hooks.start_container.clone_from(&plan.hooks.start_container);
    hooks.poststart.clone_from(&plan.hooks.poststart);
    hooks.poststop.clone_from(&plan.hooks.poststop);
    Record {
        version: VERSION,
        oci_version: prepared.spec.version().clone(),
        id: id.into(),
        bundle: plan.bundle.clone(),
        rootfs: plan.rootfs.clone(),
        created: jiff::Timestamp::now().to_string(),
        owner: rustix::process::geteuid().as_raw(),
        pid: 0,
        start_time: 0,
        annotations: prepared
            .spec
            .annotations()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        cgroup_paths: prepared.cgroup.paths().clone(),
        unit: prepared.cgroup.unit().cloned(),
        rootless: prepared.rootless,
        namespaces: plan.namespaces.all(),
        own_pid_namespace: plan.namespaces.makes(libc::CLONE_NEWPID),
        keyring: !no_new_keyring,
        seccomp: prepared.filter.is_some(),
        seccomp_listener: prepared.filter.as_ref().and_then(|filter| filter.listener.clone()),
        capabilities: plan.process.capabilities,
        no_new_privileges: plan.process.no_new_privileges,
        mount_label: plan.mount_label.clone(),
        intel_rdt: prepared.intel_rdt.clone(),
        inherited: crate::inherited::Inherited::of(&plan.process),
        hooks,
    }
}

/// The name of the container's session keyring, as runc has it.
pub(crate) fn keyring_name(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{id}")).ok()
}

/// The standard streams as the child takes them.
pub(crate) fn streams(io: Io) -> Option<[OwnedFd; 3]> {
    match io {
        Io::Fds { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
        _ => None,
    }
}

/// Forks the child. Returns the parent's end of the channel and the child's process id.
fn fork(prepared: &Prepared, undo: &Undo, record: &Record, options: CreateOptions) -> Result<(Channel, i32), Error> {
    let (parent, child) = Channel::pair().map_err(|error| Error::system("socketpair", error))?;
    let plan = &prepared.plan;
    let own_cgroup_namespace = plan.namespaces.has(libc::CLONE_NEWCGROUP);
    let context = Context {
        plan,
        channel: child,
        fifo: undo.directory.make_fifo()?,
        joins: prepared
            .joins
            .iter()
            .map(|(flag, fd)| Ok((*flag, fd.try_clone()?)))
            .collect::<std::io::Result<_>>()
            .map_err(|error| Error::system("dup of a namespace", error))?,
        hide: !is_unprivileged() || plan.namespaces.joins_any(),
        cgroup_files: CgroupFiles {
            resctrl: prepared
                .intel_rdt
                .as_ref()
                .map(intel_rdt::Groups::tasks)
                .unwrap_or_default(),
            ..cgroup::first_files(&prepared.cgroup)
        },
        cgroup_steps: runc_rs_cgroups::mounts::plan(&prepared.host, &prepared.cgroup, own_cgroup_namespace),
        sources: crate::sources::prepare(plan, &prepared.joins)?,
        devices: &prepared.devices,
        preserve_fds: options.preserve_fds,
        stdio: streams(options.io),
        no_pivot: options.no_pivot,
        keyring: (!options.no_new_keyring).then(|| keyring_name(&record.id)).flatten(),
        seccomp: prepared.filter.as_ref(),
        listener: connect_listener(prepared.filter.as_ref())?,
        hook_state: hook_state(record, Status::Creating, 0),
        environment: crate::sys::environment::area(),
        progress: init::Progress::default(),
    };
    let cgroup2 = cgroup::unified(&prepared.cgroup);
    let pid = spawn::fork_into(&prepared.pid_namespace, cgroup2.as_ref().map(AsFd::as_fd), |birth| {
        init::run(&context, birth)
    })?;
    Ok((parent, pid))
}

/// Connects to the one who answers the filter's notifications.
pub(crate) fn connect_listener(filter: Option<&Filter>) -> Result<Option<OwnedFd>, Error> {
    let listener = filter.and_then(|filter| filter.listener.as_ref());
    listener.map(|listener| sockets::connect_to(&listener.path)).transpose()
}

/// The state that hooks read.
pub(crate) fn hook_state(record: &Record, status: Status, pid: i32) -> HookState<'_> {
    HookState {
        oci_version: &record.oci_version,
        id: &record.id,
        status,
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    }
}

fn say_go(channel: &Channel, pid: i32) -> Result<(), Error> {
    // A child that has died said why, or will be found dead.
    match channel.send(&Message::Go(pid)) {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(())
        }
        result => result.map_err(|error| Error::system("tell the child to go on", error)),
    }
}

/// Answers the child until it is ready. Returns its process id and its terminal.
fn converse(
    prepared: &Prepared,
    undo: &mut Undo,
    channel: &Channel,
    first: i32,
    record: &Record,
) -> Result<(i32, Option<OwnedFd>), Error> {
    let mut pid = first;
    let mut console = None;
    // Killed just after it has made its successor, it takes the number with it, and the successor holds the channel open.
    let mut watched = child_makes_pid_namespace(&prepared.plan)
        .then(|| open_pidfd(first))
        .flatten();
    loop {
        let heard = match &watched {
            Some(process) => channel.receive_from(process.as_fd()),
            None => channel.receive(),
        };
        match heard.map_err(|error| Error::system("hear from the child", error))? {
            Some(Message::Ready) => return Ok((pid, console)),
            Some(Message::Failed(text)) => return Err(Error::Process(during_init(text))),
            Some(Message::Console(master)) => console = Some(master),
            Some(Message::Successor(successor)) => {
                pid = successor;
                watched = None;
                undo.pid = Some(successor);
                process::reap(first);
                say_go(channel, successor)?;
            }
            Some(Message::MapUsers) => {
                if let Some(maps) = &prepared.plan.id_maps {
                    crate::idmap::write(first, &maps.uids, &maps.gids)?;
                }
                say_go(channel, first)?;
            }
            Some(Message::MoveDevices) => {
                netdevices::move_to(&prepared.devices, pid)?;
                say_go(channel, pid)?;
            }
            Some(Message::RunHooks) => {
                undo.poststop = Some(record.clone());
                let state = hook_state(record, Status::Creating, pid);
                let process = open_pidfd(pid);
                let watched = process.as_ref().map(AsFd::as_fd);
                hooks::run_for(watched, "prestart", &prepared.plan.hooks.prestart, &state)?;
                hooks::run_for(watched, "createRuntime", &prepared.plan.hooks.create_runtime, &state)?;
                say_go(channel, pid)?;
            }
            // Said by children of `exec` alone, or by us.
            Some(Message::EnterCgroup | Message::TellPid | Message::Go(_)) => {}
            None => return Err(Error::Process(died(pid))),
        }
    }
}

/// runc's prefix for what fails inside, save for its last steps (the program itself among them), on whose words callers match.
pub(crate) fn during_init(text: String) -> String {
    let last = ["exec: ", "chdir to cwd", "unable to apply caps"];
    if last.iter().any(|words| text.starts_with(words)) {
        text
    } else {
        format!("error during container init: {text}")
    }
}

/// What to say of a child that is gone without a word.
pub(crate) fn died(pid: i32) -> String {
    match process::reap(pid) {
        Some(status) if libc::WIFSIGNALED(status) => {
            format!(
                "the container's process was killed by signal {}",
                libc::WTERMSIG(status)
            )
        }
        Some(status) => format!(
            "the container's process ended early with status {}",
            libc::WEXITSTATUS(status)
        ),
        None => "the container's process ended early".into(),
    }
}

/// What has been made so far, to be taken back when the rest fails.
pub(crate) struct Undo {
    pub(crate) directory: Directory,
    pub(crate) cgroup: Option<Cgroup>,
    /// Directories of Intel RDT.
    pub(crate) resctrl: Vec<std::path::PathBuf>,
    pub(crate) pid: Option<i32>,
    /// Set once hooks may have run: `poststop` answers them.
    pub(crate) poststop: Option<Record>,
}

impl Undo {
    /// Takes everything back. Best effort: the error that led here is the one to report.
    pub(crate) fn run(self) {
        if let Some(pid) = self.pid {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            process::reap(pid);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup::kill(cgroup, libc::SIGKILL);
            let _ = cgroup.delete();
        }
        intel_rdt::remove_all(&self.resctrl);
        let _ = self.directory.remove();
        if let Some(record) = &self.poststop {
            // The error that led here is the one to report.
            let _ = hooks::run_all(
                "poststop",
                &record.hooks.poststop,
                &hook_state(record, Status::Stopped, 0),
            );
        }
    }
}
