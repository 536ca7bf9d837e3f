//! Mounts of a running container, added and removed. A child joins the container's namespaces and acts there by descriptor, as the child
//! of `create` does; what the host contributes was opened before.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, unmount};

use crate::channel::{Channel, Message};
use crate::create::died;
use crate::init::fail::{Fail, Step};
use crate::init::mount::{FSCONFIG_LIMIT, change, clone_source, mount};
use crate::init::{namespaces, quarantine, with_preserved};
use crate::plan::mount_options::AttrChange;
use crate::plan::mounts::{IdMapping, MountKind, MountPlan, Surroundings, plan_mount};
use crate::record::Record;
use crate::sources::{Source, map_ids};
use crate::spawn::{PidNamespace, fork_into, user_namespace};
use crate::store::Directory;
use crate::sys::environment::{self, Area};
use crate::sys::{mounts as sys, process};
use crate::{Error, Status, inroot, lifecycle, procinfo};

/// What the child does.
enum Work {
    /// Mounts, with what was opened for each.
    Add(Vec<(MountPlan, Option<Source>)>),
    /// Takes away what is mounted at these places.
    Remove(Vec<PathBuf>),
}

/// Mounts `mounts` in container `id`.
pub(crate) fn add(root: &Path, id: &str, mounts: &[Mount]) -> Result<(), Error> {
    in_container(root, id, |record| {
        let around = Surroundings {
            bundle: &record.bundle,
            id_maps: None,
            joins_user_namespace: false,
            label: record.mount_label.as_deref(),
        };
        let mut planned = Vec::new();
        for (index, mount) in mounts.iter().enumerate() {
            let plan = plan_mount(mount, index, around)?;
            refuse(&plan, index)?;
            let source = open_source(&plan)?;
            planned.push((plan, source));
        }
        Ok(Work::Add(planned))
    })
}

/// Takes away what is mounted at the destinations of `mounts` in container `id`; the last one first.
pub(crate) fn remove(root: &Path, id: &str, mounts: &[Mount]) -> Result<(), Error> {
    in_container(root, id, |_| {
        let mut places = Vec::new();
        for (index, mount) in mounts.iter().enumerate().rev() {
            let place = crate::plan::mounts::clean(mount.destination());
            if place == Path::new("/") {
                let field = format!("mounts[{index}].destination");
                return Err(Error::config(field, "the root is not taken away"));
            }
            places.push(place);
        }
        Ok(Work::Remove(places))
    })
}

/// What a running container cannot get.
fn refuse(plan: &MountPlan, index: usize) -> Result<(), Error> {
    let long = plan.options.data.iter().any(|option| option.len() > FSCONFIG_LIMIT);
    let why = match plan.kind {
        MountKind::Cgroup => "control groups are not mounted in a running container",
        _ if plan.options.copy_symlink => "copy-symlink is not for a running container",
        // It would take a path through the container's own /proc.
        _ if long => "an option is too long for a running container",
        _ => return Ok(()),
    };
    Err(Error::config(format!("mounts[{index}]"), why))
}

/// The host's part of a mount: a bind mount's source as a detached tree, the user namespace of a new filesystem.
fn open_source(plan: &MountPlan) -> Result<Option<Source>, Error> {
    let userns = match &plan.id_mapping {
        Some(IdMapping::Maps(uids, gids)) => Some(user_namespace(uids, gids)?),
        Some(IdMapping::Joined) | None => None,
    };
    let MountKind::Bind { source, recursive } = &plan.kind else {
        return Ok(userns.map(Source::UserNamespace));
    };
    let failed = |error| Error::file("open_tree", source, error);
    let tree = clone_source(source, *recursive, plan.options.source_nofollow).map_err(failed)?;
    // What is mounted or taken away inside is not to be so outside.
    let private = sys::MountAttr {
        propagation: libc::MS_PRIVATE,
        ..sys::MountAttr::default()
    };
    sys::mount_setattr(&tree, &private, true).map_err(|error| Error::file("mount_setattr", source, error))?;
    if let Some(userns) = userns {
        map_ids(&tree, &userns, plan.options.idmap == Some(true))
            .map_err(|error| Error::file("mount_setattr MOUNT_ATTR_IDMAP", source, error))?;
    }
    Ok(Some(Source::Mapped(tree)))
}

fn in_container(root: &Path, id: &str, prepare: impl FnOnce(&Record) -> Result<Work, Error>) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let _lock = directory.lock()?;
    let record = directory.load()?;
    let gone = || Error::NotRunning(id.into());
    if matches!(
        lifecycle::status(&record, &directory)?,
        Status::Stopped | Status::Creating
    ) {
        return Err(gone());
    }
    if record.namespaces & libc::CLONE_NEWNS == 0 {
        return Err(Error::config(
            "linux.namespaces",
            "the container has no mount namespace of its own",
        ));
    }
    let work = prepare(&record)?;
    let init = procinfo::open(record.pid, record.start_time).ok_or_else(gone)?;
    let container_root = open_root(&record, &init)?;
    carry_out(&record, &work, init, &container_root)
}

/// The root of the container's first process.
fn open_root(record: &Record, init: &OwnedFd) -> Result<OwnedFd, Error> {
    let path = PathBuf::from(format!("/proc/{}/root", record.pid));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, &path, flags, Mode::empty()).map_err(|error| Error::file("open", &path, error))?;
    // Its number is not another's by now.
    process::pidfd_send_signal(init.as_fd(), 0).map_err(|_| Error::NotRunning(record.id.clone()))?;
    Ok(fd)
}

fn carry_out(record: &Record, work: &Work, init: OwnedFd, root: &OwnedFd) -> Result<(), Error> {
    let (parent, child) = Channel::pair().map_err(|error| Error::system("socketpair", error))?;
    let joins_pid = record.namespaces & libc::CLONE_NEWPID != 0;
    let pid_namespace = if joins_pid {
        let copy = init.try_clone();
        PidNamespace::Join(copy.map_err(|error| Error::system("dup of the pidfd", error))?)
    } else {
        PidNamespace::Own
    };
    let entry = Entry {
        work,
        channel: child,
        init,
        root,
        flags: record.namespaces & !libc::CLONE_NEWPID,
        environment: environment::area(),
    };
    let pid = fork_into(&pid_namespace, None, |_| run(&entry))?;
    drop(entry);
    let failed = |text: String| {
        Error::system(
            format!("mounts of container {}", record.id),
            std::io::Error::other(text),
        )
    };
    let heard = parent
        .receive()
        .map_err(|error| Error::system("hear from the child", error));
    match heard {
        Ok(Some(Message::Ready)) => {
            process::reap(pid);
            Ok(())
        }
        Ok(Some(Message::Failed(text))) => {
            process::reap(pid);
            Err(failed(text))
        }
        Ok(_) => Err(failed(died(pid))),
        Err(error) => Err(error),
    }
}

/// What the child needs.
struct Entry<'a> {
    work: &'a Work,
    channel: Channel,
    /// A pidfd of the container's first process.
    init: OwnedFd,
    root: &'a OwnedFd,
    /// The namespaces to join.
    flags: i32,
    environment: Area,
}

/// The child. Never returns.
fn run(entry: &Entry<'_>) -> Infallible {
    let said = match join(entry).and_then(|()| act(entry.work, entry.root)) {
        Ok(()) => Message::Ready,
        Err(Fail(text)) => Message::Failed(text),
    };
    // A parent that is gone has nobody to tell.
    let _ = entry.channel.send(&said);
    process::exit_now(0)
}

fn join(entry: &Entry<'_>) -> Result<(), Fail> {
    let own = [
        entry.channel.as_fd().as_raw_fd(),
        entry.init.as_raw_fd(),
        entry.root.as_raw_fd(),
    ];
    let mut keep: Vec<RawFd> = own.to_vec();
    if let Work::Add(mounts) = entry.work {
        keep.extend(
            mounts
                .iter()
                .filter_map(|(_, source)| source.as_ref().map(Source::as_raw_fd)),
        );
    }
    quarantine(&with_preserved(keep, 0), entry.environment, true)?;
    sys::setns(&entry.init, entry.flags).step(|| "setns to the container's namespaces")?;
    if entry.flags & libc::CLONE_NEWUSER != 0 {
        namespaces::become_root()?;
    }
    Ok(())
}

fn act(work: &Work, root: &OwnedFd) -> Result<(), Fail> {
    match work {
        Work::Add(mounts) => {
            for (plan, source) in mounts {
                if let Some(tree) = mount(root.as_fd(), plan, source.as_ref())? {
                    let read_only = AttrChange {
                        set: sys::ATTR_RDONLY,
                        clear: 0,
                    };
                    change(&tree, read_only, false).step(|| "mount_setattr")?;
                }
            }
        }
        Work::Remove(places) => {
            for place in places {
                detach(root, place).step(|| format!("umount {}", place.display()))?;
            }
        }
    }
    Ok(())
}

/// Takes a mount away by its name in its directory, which is found beneath the root.
fn detach(root: &OwnedFd, place: &Path) -> std::io::Result<()> {
    let invalid = || std::io::Error::from_raw_os_error(libc::EINVAL);
    let (parent, name) = place.parent().zip(place.file_name()).ok_or_else(invalid)?;
    let directory = inroot::open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::fchdir(&directory)?;
    unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    Ok(())
}
