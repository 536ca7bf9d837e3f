//! Restore: files become a running container, a child of the caller.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::dump::{DESCRIPTORS, Directories};
use super::request::{Kind, inherit_fd, opts, pair, request};
use super::session::{Notification, Session, Start, Stdio, version};
use super::wire::Writer;
use super::{RestoreOptions, external, mountpoints};
use crate::cgroup::Maker;
use crate::create::{Prepared, Undo, announce, first_record, hand_over, hook_state, open_pidfd, prepare, streams};
use crate::options::{Created, Io};
use crate::plan::namespaces::name;
use crate::record::Record;
use crate::store::Directory;
use crate::{Error, Status, cgroup, hooks, procinfo, sockets};

const LOG: &str = "restore.log";
/// The least CRIU that takes another LSM profile.
const LSM_VERSION: u64 = 31_600;

/// Restores container `id`.
pub(crate) fn restore(root: &Path, id: &str, mut options: RestoreOptions) -> Result<Created, Error> {
    crate::store::check_id(id)?;
    check_version(&options)?;
    let directories = Directories::find(&options.common, false)?;
    let mut prepared = prepare(id, &mut options.create, None)?;
    let (directory, _lock) = Directory::create(root, id)?;
    let mut undo = Undo {
        directory,
        cgroup: None,
        resctrl: Vec::new(),
        pid: None,
        poststop: None,
    };
    match build(&mut prepared, &mut undo, id, options, &directories) {
        Ok((pid, console)) => Ok(Created {
            pid,
            pidfd: open_pidfd(pid),
            console,
            warnings: prepared.warnings,
        }),
        Err(error) => {
            undo.run();
            Err(directories.with_log(error, LOG))
        }
    }
}

fn check_version(options: &RestoreOptions) -> Result<(), Error> {
    let version = version()?;
    for (there, flag) in [
        (options.lsm_profile.is_some(), "--lsm-profile"),
        (options.lsm_mount_context.is_some(), "--lsm-mount-context"),
    ] {
        if there && version < LSM_VERSION {
            return Err(Error::config(flag, format!("{flag} requires at least CRIU 3.16")));
        }
    }
    Ok(())
}

/// What CRIU told while it restored.
#[derive(Default)]
struct Restored {
    pid: Option<i32>,
    console: Option<OwnedFd>,
}

fn build(
    prepared: &mut Prepared,
    undo: &mut Undo,
    id: &str,
    options: RestoreOptions,
    directories: &Directories,
) -> Result<(i32, Option<OwnedFd>), Error> {
    let mut record = first_record(prepared, id, options.create.no_new_keyring);
    if let Some(filter) = &prepared.filter {
        undo.directory.save_filter(&filter.to_bytes())?;
    }
    let console_socket = match &options.create.io {
        Io::ConsoleSocket(path) => Some(sockets::connect_to(path)?),
        _ => None,
    };
    let at = undo.directory.path().join("criu-root");
    let made = std::fs::DirBuilder::new().mode(0o700).create(&at);
    made.map_err(|error| Error::file("mkdir", &at, error))?;
    cgroup::check_free(&prepared.cgroup)?;
    undo.directory.save(&record)?;
    undo.cgroup = Some(prepared.cgroup.clone());
    let mut maker = std::mem::replace(&mut prepared.maker, Maker::Nobody);
    if let Maker::Files = maker {
        cgroup::make(&mut prepared.cgroup, &prepared.spec, prepared.rootless)?;
    }
    let prepared = &*prepared;
    record.cgroup_paths.clone_from(prepared.cgroup.paths());
    let (mut message, files) = restore_options(prepared, &options, directories, &at)?;
    let (pid_file, pidfd_socket) = (options.create.pid_file.clone(), options.create.pidfd_socket.clone());
    let stdio = streams(options.create.io);
    let session = Session::start(&Start {
        stdio: match &stdio {
            Some(fds) => Stdio::Fds(fds.each_ref().map(AsFd::as_fd)),
            None => Stdio::Inherit,
        },
        files: &files,
        prepare: Some(&|| {
            mountpoints::prepare(&prepared.plan, &at)?;
            directories.open()
        }),
    })?;
    // What CRIU restores is born where CRIU is.
    if let Maker::Systemd(manager) = &mut maker {
        cgroup::start(manager, &prepared.cgroup, session.pid, &prepared.spec)?;
    }
    prepared
        .cgroup
        .add(session.pid)
        .map_err(|error| Error::Cgroup(error.to_string()))?;
    if !matches!(maker, Maker::Nobody) {
        cgroup::limit(&prepared.cgroup, &prepared.spec, prepared.rootless)?;
    }
    for root in external::cgroup_roots(session.pid)? {
        message.message(opts::CGROUP_ROOT, &root);
    }
    let mut restored = Restored::default();
    session.ask(&request(Kind::Restore, Some(&message)), |notification| {
        hear(notification, prepared, undo, &record, &mut restored)
    })?;
    drop(session);
    let _ = std::fs::remove_dir(&at);
    let pid = restored
        .pid
        .ok_or_else(|| Error::Process("criu did not tell the restored process".into()))?;
    record.pid = pid;
    record.start_time = procinfo::read(pid)
        .filter(|info| !info.ended)
        .map(|info| info.start_time)
        .ok_or_else(|| Error::Process("the container's process has ended".into()))?;
    if external::has_own_time(pid) {
        record.namespaces |= libc::CLONE_NEWTIME;
    }
    undo.directory.save(&record)?;
    let console = hand_over(restored.console, console_socket)?;
    announce(pid, pid_file.as_deref(), pidfd_socket.as_deref())?;
    Ok((pid, console))
}

fn hear(
    notification: Notification,
    prepared: &Prepared,
    undo: &mut Undo,
    record: &Record,
    restored: &mut Restored,
) -> Result<(), Error> {
    match notification.script.as_str() {
        "setup-namespaces" => {
            undo.poststop = Some(record.clone());
            let state = hook_state(record, Status::Creating, notification.pid);
            hooks::run("prestart", &prepared.plan.hooks.prestart, &state)?;
            hooks::run("createRuntime", &prepared.plan.hooks.create_runtime, &state)?;
        }
        "post-restore" => {
            undo.pid = Some(notification.pid);
            restored.pid = Some(notification.pid);
        }
        "orphan-pts-master" => restored.console = notification.fd,
        _ => {}
    }
    Ok(())
}

/// The request's options but for the control groups, and the files that CRIU inherits.
fn restore_options(
    prepared: &Prepared,
    options: &RestoreOptions,
    directories: &Directories,
    at: &Path,
) -> Result<(Writer, Vec<OwnedFd>), Error> {
    let plan = &prepared.plan;
    let annotations = prepared.spec.annotations().as_ref();
    let annotation = annotations
        .and_then(|all| all.get(super::CONFIG_ANNOTATION))
        .map(String::as_str);
    let mut message = directories.common_options(&options.common, LOG, annotation);
    message
        .flag(opts::EVASIVE_DEVICES, true)
        .flag(opts::RST_SIBLING, true)
        .bytes(opts::ROOT, at.as_os_str().as_bytes());
    if let Some(profile) = &options.lsm_profile {
        message.bytes(opts::LSM_PROFILE, profile);
    }
    if let Some(context) = &options.lsm_mount_context {
        message.bytes(opts::LSM_MOUNT_CONTEXT, context);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        openat(CWD, &plan.rootfs, flags, Mode::empty()).map_err(|error| Error::file("open", &plan.rootfs, error))?;
    let own = plan.namespaces.has(libc::CLONE_NEWCGROUP);
    let steps = runc_rs_cgroups::mounts::plan(&prepared.host, &prepared.cgroup, own);
    for mount in external::mounts(plan, &steps, root.as_fd()) {
        message.message(opts::EXT_MNT, &external::mount_map(&mount.destination, &mount.source));
    }
    if !plan.masked_paths.is_empty() {
        let null = Path::new("/dev/null");
        message.message(opts::EXT_MNT, &external::mount_map(null, null));
    }
    let files = add_namespaces(prepared, directories.next_file(), &mut message)?;
    for (fd, name) in (0..).zip(read_descriptors(&options.common.image_path)?) {
        if name.contains("pipe:") {
            message.message(opts::INHERIT_FD, &inherit_fd(&name, fd));
        }
    }
    Ok((message, files))
}

/// Joined namespaces: network and pid by descriptor, as they were dumped; others by path.
fn add_namespaces(prepared: &Prepared, first: i32, message: &mut Writer) -> Result<Vec<OwnedFd>, Error> {
    let mut files = Vec::new();
    for (flag, path) in external::namespaces(&prepared.plan) {
        let file = File::open(path).map_err(|error| Error::file("open", path, error))?;
        let fd = first + i32::try_from(files.len()).unwrap_or(0);
        message.message(opts::INHERIT_FD, &inherit_fd(external::namespace_key(flag), fd));
        files.push(OwnedFd::from(file));
    }
    for (flag, path) in &prepared.plan.namespaces.join {
        match *flag {
            libc::CLONE_NEWNET | libc::CLONE_NEWPID => {}
            libc::CLONE_NEWCGROUP => {
                let field = "linux.namespaces";
                return Err(Error::config(field, "Do not know how to handle namespace NEWCGROUP"));
            }
            flag => {
                message.message(opts::JOIN_NS, &pair(name(flag), path.as_os_str().as_bytes()));
            }
        }
    }
    Ok(files)
}

fn read_descriptors(images: &Path) -> Result<Vec<String>, Error> {
    let path = images.join(DESCRIPTORS);
    let file = File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    // Three short names; a file that is longer is not ours.
    let names: Vec<String> =
        serde_json::from_reader(std::io::Read::take(&file, 64 * 1024)).map_err(|error| Error::Json {
            path,
            message: error.to_string(),
        })?;
    Ok(names.into_iter().take(3).collect())
}
