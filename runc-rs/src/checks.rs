//! Input that only a look at the machine can judge: the root filesystem, labels, streams, namespaces to join.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::init::namespaces::{child_joins_pid_namespace, child_makes_pid_namespace};
use crate::options::Io;
use crate::plan::Plan;
use crate::plan::ids::lines;
use crate::plan::namespaces::name;
use crate::spawn::PidNamespace;
use crate::sys::mounts as sys;

/// The root filesystem's real path.
pub(crate) fn check_rootfs(rootfs: &Path) -> Result<PathBuf, Error> {
    let invalid = |message: String| Error::System {
        action: format!("invalid rootfs {}", rootfs.display()),
        source: std::io::Error::other(message),
    };
    let real = rootfs
        .canonicalize()
        .map_err(|error| Error::system(format!("invalid rootfs: stat {}", rootfs.display()), error))?;
    if !real.is_dir() {
        return Err(invalid("not a directory".into()));
    }
    if real == Path::new("/") {
        return Err(invalid("the host's root cannot be a container's".into()));
    }
    Ok(real)
}

/// A label that nothing enforces would be a promise not kept.
pub(crate) fn check_labels(plan: &Plan) -> Result<(), Error> {
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    for (field, label) in [
        ("process.selinuxLabel", &plan.process.selinux_label),
        ("linux.mountLabel", &plan.mount_label),
    ] {
        if label.is_some() && !selinux {
            let words = "selinux label is specified in config, but selinux is disabled or not supported";
            return Err(Error::config(field, words));
        }
    }
    Ok(())
}

/// Without `pivot_root` the host's tree stays behind the container's root: it must not get apart from it.
pub(crate) fn check_root_propagation(plan: &Plan, no_pivot: bool) -> Result<(), Error> {
    match plan.root_propagation {
        Some((libc::MS_PRIVATE, _)) if no_pivot => Err(Error::config(
            "linux.rootfsPropagation",
            "rootfsPropagation of [r]private is not safe without pivot_root",
        )),
        _ => Ok(()),
    }
}

/// Whether the standard streams fit a process with or without a terminal.
pub(crate) fn check_io(terminal: bool, io: &Io) -> Result<(), Error> {
    match (terminal, io) {
        (true, Io::Inherit | Io::Fds { .. }) => Err(Error::config(
            "process.terminal",
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (false, Io::Terminal | Io::ConsoleSocket(_)) => Err(Error::config(
            "process.terminal",
            "cannot use console socket if runc will not detach or allocate tty",
        )),
        _ => Ok(()),
    }
}

/// Mappings beside a user namespace that is joined, as containerd gives them: they must be that namespace's own.
pub(crate) fn check_joined_mappings(
    spec: &oci_spec::runtime::Spec,
    joins: &[(i32, OwnedFd)],
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let uids = lines(linux.uid_mappings().as_deref());
    let gids = lines(linux.gid_mappings().as_deref());
    let joined = joins.iter().find(|(flag, _)| *flag == libc::CLONE_NEWUSER);
    let (Some((_, namespace)), false) = (joined, uids.is_empty() && gids.is_empty()) else {
        return Ok(());
    };
    if crate::spawn::mappings_of(namespace.as_fd())? == (uids, gids) {
        warnings.push(
            "config.json has both a userns path to join and a matching userns mapping specified -- you may only provide one"
                .into(),
        );
        return Ok(());
    }
    let words = "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one";
    Err(Error::config("linux.uidMappings", words))
}

/// Namespaces that a kernel may lack, in runc's words.
fn check_kernel(plan: &Plan) -> Result<(), Error> {
    for (flag, file, words) in [
        (
            libc::CLONE_NEWUSER,
            "ns/user",
            "USER namespaces aren't enabled in the kernel",
        ),
        (
            libc::CLONE_NEWCGROUP,
            "ns/cgroup",
            "cgroup namespaces aren't enabled in the kernel",
        ),
        (
            libc::CLONE_NEWTIME,
            "timens_offsets",
            "time namespaces aren't enabled in the kernel",
        ),
    ] {
        if plan.namespaces.has(flag) && !Path::new("/proc/self").join(file).exists() {
            return Err(Error::config("linux.namespaces", words));
        }
    }
    Ok(())
}

/// A network namespace that is joined may be the runtime's own: then its parameters are the host's.
fn check_network_parameters(plan: &Plan, joined: &OwnedFd) -> Result<(), Error> {
    let Some((path, _)) = plan.sysctl.iter().find(|(path, _)| path.starts_with("net/")) else {
        return Ok(());
    };
    let own = rustix::fs::stat("/proc/self/ns/net").map_err(|error| Error::file("stat", "/proc/self/ns/net", error))?;
    let there = rustix::fs::fstat(joined).map_err(|error| Error::system("stat of the network namespace", error))?;
    if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino) {
        return Ok(());
    }
    let name = path.replace('/', ".");
    let message = format!("sysctl {name:?} not allowed in host network namespace");
    Err(Error::config("linux.sysctl", message))
}

/// Opens the namespaces to join, each checked to be of its type.
pub(crate) fn open_namespaces(plan: &Plan) -> Result<(Vec<(i32, OwnedFd)>, PidNamespace), Error> {
    check_kernel(plan)?;
    let mut joins = Vec::new();
    let in_child = child_makes_pid_namespace(plan);
    let mut pid = if plan.namespaces.new & libc::CLONE_NEWPID != 0 && !in_child {
        PidNamespace::New
    } else {
        PidNamespace::Own
    };
    let late = child_joins_pid_namespace(plan);
    for (flag, path) in &plan.namespaces.join {
        let fd = openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .map_err(|error| Error::file("open", path, error))?;
        match sys::namespace_type(fd.as_fd()) {
            Ok(found) if found == *flag => {}
            Ok(found) => {
                let message = format!(
                    "{} is a {} namespace, not a {} namespace",
                    path.display(),
                    name(found),
                    name(*flag)
                );
                return Err(Error::config("linux.namespaces", message));
            }
            Err(error) => return Err(Error::file("not a namespace:", path, error)),
        }
        if *flag == libc::CLONE_NEWNET {
            check_network_parameters(plan, &fd)?;
        }
        if *flag == libc::CLONE_NEWPID && !late {
            pid = PidNamespace::Join(fd);
        } else {
            joins.push((*flag, fd));
        }
    }
    Ok((joins, pid))
}
