//! The root filesystem of a container: containerd's mounts, planned as data, then made; and everything beneath a directory unmounted.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use containerd_proto::containerd::types::Mount;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Error, Result};

/// mount(2) takes at most a page of data, with its final zero.
const MOST_DATA: usize = 4095;

const PROPAGATION: MsFlags = MsFlags::MS_SHARED
    .union(MsFlags::MS_PRIVATE)
    .union(MsFlags::MS_SLAVE)
    .union(MsFlags::MS_UNBINDABLE);

/// One mount, as mount(2) wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    source: String,
    /// Beneath the root filesystem; empty for its top.
    target: PathBuf,
    kind: String,
    flags: MsFlags,
    data: String,
    /// Directory that sources in `data` are relative to, because they would not fit otherwise.
    from: Option<PathBuf>,
}

/// Plans the mounts of a request.
///
/// # Errors
/// A target outside the root filesystem, an option that only other shims know, data that does not fit.
pub(crate) fn plan(mounts: &[Mount]) -> Result<Vec<Plan>> {
    mounts.iter().map(plan_one).collect()
}

fn plan_one(mount: &Mount) -> Result<Plan> {
    let target: PathBuf = Path::new(&mount.target)
        .components()
        .filter(|c| !matches!(c, Component::RootDir))
        .collect();
    if target.components().any(|part| part == Component::ParentDir) {
        return Err(Error::Invalid(format!(
            "mount target {:?} leads out of the root filesystem",
            mount.target
        )));
    }
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    for option in &mount.options {
        match flag(option) {
            Some((false, flag)) => flags |= flag,
            Some((true, flag)) => flags &= !flag,
            None if option == "loop" || option.starts_with("uidmap=") || option.starts_with("gidmap=") => {
                return Err(Error::Invalid(format!(
                    "mount option {option:?} of {:?} is not supported",
                    mount.source
                )));
            }
            None if option.starts_with("X-containerd.") => {}
            None => data.push(option.clone()),
        }
    }
    if mount.r#type == "bind" || mount.r#type == "rbind" {
        flags |= if mount.r#type == "rbind" {
            MsFlags::MS_BIND | MsFlags::MS_REC
        } else {
            MsFlags::MS_BIND
        };
    }
    let mut plan = Plan {
        source: mount.source.clone(),
        target,
        kind: mount.r#type.clone(),
        flags,
        data: data.join(","),
        from: None,
    };
    if plan.data.len() > MOST_DATA {
        shorten(&mut plan, &data)?;
    }
    Ok(plan)
}

/// Whether an option clears or sets a flag, and which.
fn flag(option: &str) -> Option<(bool, MsFlags)> {
    let rec = MsFlags::MS_REC;
    Some(match option {
        "async" => (true, MsFlags::MS_SYNCHRONOUS),
        "atime" => (true, MsFlags::MS_NOATIME),
        "bind" => (false, MsFlags::MS_BIND),
        "defaults" => (false, MsFlags::empty()),
        "dev" => (true, MsFlags::MS_NODEV),
        "diratime" => (true, MsFlags::MS_NODIRATIME),
        "dirsync" => (false, MsFlags::MS_DIRSYNC),
        "exec" => (true, MsFlags::MS_NOEXEC),
        "mand" => (false, MsFlags::MS_MANDLOCK),
        "noatime" => (false, MsFlags::MS_NOATIME),
        "nodev" => (false, MsFlags::MS_NODEV),
        "nodiratime" => (false, MsFlags::MS_NODIRATIME),
        "noexec" => (false, MsFlags::MS_NOEXEC),
        "nomand" => (true, MsFlags::MS_MANDLOCK),
        "norelatime" => (true, MsFlags::MS_RELATIME),
        "nostrictatime" => (true, MsFlags::MS_STRICTATIME),
        "nosuid" => (false, MsFlags::MS_NOSUID),
        "private" => (false, MsFlags::MS_PRIVATE),
        "rbind" => (false, MsFlags::MS_BIND | rec),
        "relatime" => (false, MsFlags::MS_RELATIME),
        "remount" => (false, MsFlags::MS_REMOUNT),
        "ro" => (false, MsFlags::MS_RDONLY),
        "rprivate" => (false, MsFlags::MS_PRIVATE | rec),
        "rshared" => (false, MsFlags::MS_SHARED | rec),
        "rslave" => (false, MsFlags::MS_SLAVE | rec),
        "runbindable" => (false, MsFlags::MS_UNBINDABLE | rec),
        "rw" => (true, MsFlags::MS_RDONLY),
        "shared" => (false, MsFlags::MS_SHARED),
        "slave" => (false, MsFlags::MS_SLAVE),
        "strictatime" => (false, MsFlags::MS_STRICTATIME),
        "suid" => (true, MsFlags::MS_NOSUID),
        "sync" => (false, MsFlags::MS_SYNCHRONOUS),
        "unbindable" => (false, MsFlags::MS_UNBINDABLE),
        _ => return None,
    })
}

/// Makes the layers of an overlay relative to the directory they share, so that many of them fit into a page.
fn shorten(plan: &mut Plan, options: &[String]) -> Result<()> {
    let too_long = || {
        Error::Invalid(format!(
            "mount options of {:?} are longer than {MOST_DATA} bytes",
            plan.source
        ))
    };
    let lower = options
        .iter()
        .find_map(|o| o.strip_prefix("lowerdir="))
        .ok_or_else(too_long)?;
    let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let mut common = layers
        .first()
        .and_then(|layer| layer.parent())
        .map(Path::to_owned)
        .ok_or_else(too_long)?;
    while layers.iter().any(|layer| !layer.starts_with(&common)) {
        if !common.pop() {
            return Err(too_long());
        }
    }
    let relative: Vec<_> = layers
        .iter()
        .filter_map(|l| l.strip_prefix(&common).ok())
        .map(|l| l.display().to_string())
        .collect();
    let lower = format!("lowerdir={}", relative.join(":"));
    let kept = options.iter().map(|o| {
        if o.starts_with("lowerdir=") {
            lower.clone()
        } else {
            o.clone()
        }
    });
    let data = kept.collect::<Vec<_>>().join(",");
    if data.len() > MOST_DATA {
        return Err(too_long());
    }
    plan.data = data;
    plan.from = Some(common);
    Ok(())
}

/// Makes the planned mounts on `rootfs`. What was mounted is unmounted again if one fails.
///
/// # Errors
/// [`Error::Mount`].
pub(crate) fn make(plans: &[Plan], rootfs: &Path) -> Result<()> {
    for plan in plans {
        if let Err(error) = make_one(plan, rootfs) {
            if let Err(left) = unmount(rootfs) {
                tracing::warn!(%left, "failed to cleanup rootfs mount");
            }
            return Err(error);
        }
    }
    Ok(())
}

fn make_one(plan: &Plan, rootfs: &Path) -> Result<()> {
    let target = if plan.target.as_os_str().is_empty() {
        rootfs.to_owned()
    } else {
        beneath(rootfs, &plan.target)?
    };
    let failed = |error: nix::Error| Error::Mount {
        from: plan.source.clone(),
        target: target.clone(),
        kind: plan.kind.clone(),
        flags: plan.flags.bits(),
        data: plan.data.clone(),
        error: error.into(),
    };
    let flags = plan.flags & !PROPAGATION;
    let make = |target: &Path| {
        let data = (!plan.data.is_empty()).then_some(plan.data.as_str());
        mount(
            Some(plan.source.as_str()),
            target,
            Some(plan.kind.as_str()),
            flags,
            data,
        )
    };
    match &plan.from {
        None => make(&target).map_err(failed)?,
        // A thread of its own, because it gets a current directory of its own.
        Some(from) => std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS)?;
                nix::unistd::chdir(from)?;
                make(&target)
            });
            elsewhere.join().unwrap_or(Err(nix::Error::EIO))
        })
        .map_err(failed)?,
    }
    let none = None::<&str>;
    let propagation = plan.flags & PROPAGATION;
    if !propagation.is_empty() {
        mount(none, &target, none, propagation | (plan.flags & MsFlags::MS_REC), none).map_err(failed)?;
    }
    // A bind takes its other flags only when mounted again.
    let per_mount = flags & !(MsFlags::MS_BIND | MsFlags::MS_REC);
    if flags.contains(MsFlags::MS_BIND) && !per_mount.is_empty() {
        let again = (flags & !MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
        mount(none, &target, none, again, none).map_err(failed)?;
    }
    Ok(())
}

/// A directory beneath the root filesystem, found without following links out of it.
fn beneath(rootfs: &Path, target: &Path) -> Result<PathBuf> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    let top = rustix::fs::openat(
        CWD,
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::file("open", rootfs))?;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(&top, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how)
        .map_err(Error::file("open", &rootfs.join(target)))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    std::fs::read_link(&link).map_err(Error::file("readlink", Path::new(&link)))
}

/// Unmounts everything on `directory` and beneath it, the latest first; what is busy is detached.
///
/// # Errors
/// The first mount that cannot even be detached, after all were tried.
pub(crate) fn unmount(directory: &Path) -> Result<()> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(Error::file("read", table))?;
    let mut outcome = Ok(());
    for point in mounts_beneath(&text, directory).iter().rev() {
        let lazy = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        let done = umount2(point, MntFlags::UMOUNT_NOFOLLOW).or_else(|_| umount2(point, lazy));
        match done {
            // EINVAL: went away together with another.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(e) => outcome = outcome.and(Err(Error::file("unmount", point)(e))),
        }
    }
    outcome
}

/// Mount points of mountinfo that are `directory` or beneath it, in the order they were made.
fn mounts_beneath(mountinfo: &[u8], directory: &Path) -> Vec<PathBuf> {
    let points = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points
        .map(unescape)
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Undoes mountinfo's octal escapes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str, target: &str, options: &[&str]) -> Result<Plan> {
        let mount = Mount {
            r#type: kind.into(),
            source: "src".into(),
            target: target.into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        plan_one(&mount)
    }

    #[test]
    fn options_become_flags_and_data() {
        let plan = one("overlay", "", &["index=off", "ro", "rw", "noexec", "lowerdir=/a:/b"]).unwrap();
        assert_eq!(plan.flags, MsFlags::MS_NOEXEC);
        assert_eq!(plan.data, "index=off,lowerdir=/a:/b");
        let plan = one("bind", "/sub/dir", &["rbind", "ro", "rprivate"]).unwrap();
        assert_eq!(
            plan.flags,
            MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY | MsFlags::MS_PRIVATE
        );
        assert_eq!(plan.target, Path::new("sub/dir"));
    }

    #[test]
    fn refuses_targets_outside_and_foreign_options() {
        assert!(one("bind", "a/../../b", &["rbind"]).is_err());
        assert!(one("ext4", "", &["loop"]).is_err());
        assert!(one("overlay", "", &["uidmap=0:1:1"]).is_err());
    }

    #[test]
    fn many_layers_become_relative() {
        let layers: Vec<String> = (0..120)
            .map(|n| format!("/var/lib/containerd/snapshots/{n}/fs"))
            .collect();
        let lower = format!("lowerdir={}", layers.join(":"));
        assert!(lower.len() > MOST_DATA);
        let plan = one("overlay", "", &[&lower, "upperdir=/u"]).unwrap();
        assert_eq!(plan.from.as_deref(), Some(Path::new("/var/lib/containerd/snapshots")));
        assert!(plan.data.starts_with("lowerdir=0/fs:1/fs:") && plan.data.ends_with(",upperdir=/u"));
        assert!(one("tmpfs", "", &["x".repeat(5000).as_str()]).is_err());
    }

    #[test]
    fn finds_mounts_beneath() {
        let info = b"1 0 0:1 / / rw - x x rw\n2 1 0:2 / /b/rootfs rw - x x rw\n3 2 0:3 / /b/rootfs/a\\040b rw - x x rw\n4 1 0:4 / /b/rootfs2 rw - x x rw\n";
        let found = mounts_beneath(info, Path::new("/b/rootfs"));
        assert_eq!(found, [PathBuf::from("/b/rootfs"), PathBuf::from("/b/rootfs/a b")]);
    }
}
