//! The names of what lies outside of a container: mounts, pipes and namespaces.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runc_rs_cgroups::mounts::Step;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::request::pair;
use super::wire::Writer;
use crate::inroot;
use crate::plan::Plan;
use crate::plan::mounts::MountKind;
use crate::plan::namespaces::name;
use crate::{Error, procinfo};

/// A mount whose source CRIU cannot find by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalMount {
    /// Where it is in the container, links resolved.
    pub(crate) destination: PathBuf,
    /// Where it comes from on the host.
    pub(crate) source: PathBuf,
}

/// The bind mounts of the configuration and of the control groups, and the devices. `root` is the root filesystem on the host.
pub(crate) fn mounts(plan: &Plan, cgroup_steps: &[Step], root: BorrowedFd<'_>) -> Vec<ExternalMount> {
    let mut mounts = Vec::new();
    for mount in &plan.mounts {
        match &mount.kind {
            MountKind::Bind { source, .. } => mounts.push((mount.destination.clone(), source.clone())),
            MountKind::Cgroup => mounts.extend(cgroup_steps.iter().filter_map(|step| match step {
                Step::Bind { source, target } => Some((mount.destination.join(target), source.clone())),
                _ => None,
            })),
            _ => {}
        }
    }
    mounts.extend(
        plan.devices
            .iter()
            .map(|device| (device.path.clone(), device.path.clone())),
    );
    mounts
        .into_iter()
        .map(|(destination, source)| ExternalMount {
            destination: resolved(root, &destination),
            source,
        })
        .collect()
}

/// `path` as the kernel shows it in the container: what exists in the root filesystem with its links resolved, the rest as it is.
fn resolved(root: BorrowedFd<'_>, path: &Path) -> PathBuf {
    let real = |fd: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let there = inroot::open(root, path, OFlags::PATH).ok().and_then(|fd| {
        let (top, real) = (real(root)?, real(fd.as_fd())?);
        Some(Path::new("/").join(real.strip_prefix(top).ok()?))
    });
    match (there, path.parent(), path.file_name()) {
        (Some(there), ..) => there,
        (None, Some(parent), Some(name)) => resolved(root, parent).join(name),
        _ => path.to_owned(),
    }
}

/// The masked paths that are files in the container of process `pid`: each is `/dev/null` of the host.
pub(crate) fn masked_files(plan: &Plan, pid: i32) -> Result<Vec<PathBuf>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(|error| Error::file("open", &path, error))?;
    let is_file = |masked: &PathBuf| {
        inroot::open(&root, masked, OFlags::PATH)
            .and_then(|fd| Ok(rustix::fs::fstat(&fd)?))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
    };
    Ok(plan.masked_paths.iter().filter(|path| is_file(path)).cloned().collect())
}

/// `ext_mount_map`.
pub(crate) fn mount_map(key: &Path, value: &Path) -> Writer {
    pair(key.as_os_str().as_bytes(), value.as_os_str().as_bytes())
}

/// Where the standard streams of process `pid` lead: `pipe:[N]`, `/dev/null`...
pub(crate) fn descriptors(pid: i32) -> Vec<String> {
    let target = |fd: i32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    (0..3)
        .map(|fd| target(fd).map(|path| path.display().to_string()).unwrap_or_default())
        .collect()
}

/// The namespaces that CRIU takes for external: joined network and pid namespaces, as flag and path.
pub(crate) fn namespaces(plan: &Plan) -> impl Iterator<Item = (i32, &Path)> {
    let external = |flag| flag == libc::CLONE_NEWNET || flag == libc::CLONE_NEWPID;
    let joined = plan.namespaces.join.iter();
    joined
        .filter(move |(flag, _)| external(*flag))
        .map(|(flag, path)| (*flag, path.as_path()))
}

/// The name under which CRIU keeps an external namespace.
pub(crate) fn namespace_key(flag: i32) -> &'static str {
    if flag == libc::CLONE_NEWNET {
        "extRootNetNS"
    } else {
        "extRootPidNS"
    }
}

/// `TYPE[INODE]:KEY` for a dump.
pub(crate) fn namespace_for_dump(flag: i32, path: &Path) -> Result<String, Error> {
    let stat = rustix::fs::stat(path).map_err(|error| Error::file("stat", path, error))?;
    Ok(format!("{}[{}]:{}", name(flag), stat.st_ino, namespace_key(flag)))
}

/// The file for CRIU's own settings: of the annotation `org.criu.config`, where an empty value means none, else runc's.
pub(crate) fn config_file(annotation: Option<&str>) -> Option<&str> {
    Some(annotation.unwrap_or("/etc/criu/runc.conf")).filter(|path| !path.is_empty())
}

/// Whether process `pid` is in another time namespace than the caller: CRIU restores into one of its own.
pub(crate) fn has_own_time(pid: i32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/time")).ok();
    let own = of("self");
    own.is_some() && of(&pid.to_string()) != own && procinfo::read(pid).is_some()
}

/// The control groups of process `pid` as CRIU's roots: controllers and path.
pub(crate) fn cgroup_roots(pid: i32) -> Result<Vec<Writer>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
    let roots = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        Some(pair(OsStr::from_bytes(controllers).as_bytes(), path))
    });
    Ok(roots.collect())
}
