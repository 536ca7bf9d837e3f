//! Carries out the planned mounts, each by descriptor: source tree and destination are opened, checked, and joined, and no path
//! is looked up a second time.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree, unmount,
};

use super::fail::{Fail, Step};
use super::{copy_up, labels};
use crate::inroot::{self, Make};
use crate::plan::mount_options::AttrChange;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sources::{Source, map_ids};
use crate::sys::mounts::{self as sys, MountAttr};

/// What lies in `/proc` and may be covered all the same (runc's list: files that lxcfs provides, and two harmless ones).
const ALLOWED_IN_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The longest value `fsconfig` takes.
pub(crate) const FSCONFIG_LIMIT: usize = 255;

/// Puts `tree` (a detached mount) on `destination`.
pub(crate) fn attach(tree: impl AsFd, destination: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", destination, c"", flags)
}

/// A detached copy of the mount at `path`.
pub(crate) fn clone_path(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    clone_source(path, recursive, false)
}

/// A detached copy of what is at `path`; with `nofollow` of a symbolic link itself.
pub(crate) fn clone_source(path: &Path, recursive: bool, nofollow: bool) -> rustix::io::Result<OwnedFd> {
    let link = if nofollow {
        OpenTreeFlags::AT_SYMLINK_NOFOLLOW
    } else {
        OpenTreeFlags::empty()
    };
    open_tree(CWD, path, clone_flags(recursive) | link)
}

/// A detached copy of what `fd` refers to.
pub(crate) fn clone_fd(fd: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    open_tree(fd, c"", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Changes attributes of the mount `fd`.
pub(crate) fn change(fd: impl AsFd, change: AttrChange, recursive: bool) -> io::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    let change = change.normalized();
    sys::mount_setattr(
        fd,
        &MountAttr {
            set: change.set,
            clear: change.clear,
            ..MountAttr::default()
        },
        recursive,
    )
}

/// Whether `fd` is on a filesystem of this magic number.
pub(crate) fn is_on(fd: impl AsFd, magic: i64) -> io::Result<bool> {
    Ok(fs::fstatfs(fd)?.f_type == magic)
}

/// Whether `fd` is the root of a procfs, not some directory of it.
fn is_proc_root(fd: impl AsFd) -> io::Result<bool> {
    /// `PROC_ROOT_INO` of the kernel's `<linux/proc_fs.h>`.
    const ROOT_INODE: u64 = 1;
    Ok(is_on(&fd, PROC_MAGIC)? && fs::fstat(&fd)?.st_ino == ROOT_INODE)
}

/// `PROC_SUPER_MAGIC`.
pub(crate) const PROC_MAGIC: i64 = 0x9fa0;

/// Executes one mount that is neither of control groups nor a remount. Returns the mount when it has to be made read-only at the end.
pub(crate) fn mount(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    prepared: Option<&Source>,
) -> Result<Option<OwnedFd>, Fail> {
    let (tree, source) = match &plan.kind {
        MountKind::Bind { source, recursive } => {
            if plan.options.copy_symlink && copy_link(root, plan, source)? {
                return Ok(None);
            }
            let tree = bind(root, plan, source, *recursive, prepared);
            (tree, source.display().to_string())
        }
        MountKind::Filesystem { fstype, source } => (
            filesystem(root, plan, fstype, source, prepared),
            if source.is_empty() {
                fstype.clone()
            } else {
                source.clone()
            },
        ),
        MountKind::Remount => (remount(root, plan), String::new()),
        MountKind::Cgroup => return Err(Fail::new("a cgroup mount is not a plain one")),
    };
    let tree = tree.map_err(|Fail(why)| {
        Fail(format!(
            "error mounting {source:?} to rootfs at {:?}: {why}",
            plan.destination.display().to_string()
        ))
    })?;
    Ok(plan.read_only_at_the_end().then_some(tree))
}

fn bind(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    source: &Path,
    recursive: bool,
    prepared: Option<&Source>,
) -> Result<OwnedFd, Fail> {
    let own = || clone_source(source, recursive, plan.options.source_nofollow);
    let tree = match prepared {
        Some(Source::Mapped(tree)) => rustix::io::fcntl_dupfd_cloexec(tree, 3),
        Some(Source::Spare(spare)) => own().or_else(|error| match error {
            Errno::ACCESS => rustix::io::fcntl_dupfd_cloexec(spare, 3),
            error => Err(error),
        }),
        _ => own(),
    }
    .step(|| format!("stat {}", source.display()))?;
    let kind = FileType::from_raw_mode(fs::fstat(&tree).step(|| "stat of the source")?.st_mode);
    let make = if kind == FileType::Directory {
        Make::Directory
    } else {
        Make::File
    };
    let destination = if plan.destination == Path::new("/proc") {
        ordinary_directory(root, plan, "proc")?
    } else {
        open_destination(root, plan, make)?
    };
    if plan.destination == Path::new("/proc") && !is_proc_root(&tree).step(|| "statfs of the source")? {
        return Err(Fail(format!(
            "{:?} cannot be mounted because it is not of type proc",
            "/proc"
        )));
    }
    change_attributes(&tree, plan)?;
    attach(&tree, &destination).step(|| "move_mount")?;
    propagate(&tree, plan)?;
    Ok(tree)
}

/// Makes a source that is a symbolic link anew at the destination. `false`: it is none.
fn copy_link(root: BorrowedFd<'_>, plan: &MountPlan, source: &Path) -> Result<bool, Fail> {
    let target = match fs::readlink(source, Vec::new()) {
        Err(Errno::INVAL) => return Ok(false),
        result => result.step(|| format!("readlink {}", source.display()))?,
    };
    let shown = plan.destination.display();
    let (parent, name) =
        inroot::ensure_parent(root, &plan.destination).step(|| format!("create mountpoint for {shown} mount"))?;
    match fs::symlinkat(&target, &parent, name) {
        // The image has the very link.
        Err(Errno::EXIST) if fs::readlinkat(&parent, name, Vec::new()).is_ok_and(|there| there == target) => Ok(true),
        result => result.step(|| format!("symlink {shown}")).map(|()| true),
    }
}

/// The attributes asked for, of the mount and of everything beneath it.
fn change_attributes(tree: &OwnedFd, plan: &MountPlan) -> Result<(), Fail> {
    change(tree, plan.options.attr, false).step(|| "mount_setattr")?;
    change(tree, plan.options.recursive_attr, true).step(|| "mount_setattr recursively")
}

fn remount(root: BorrowedFd<'_>, plan: &MountPlan) -> Result<OwnedFd, Fail> {
    let options = &plan.options;
    let of_filesystem = (!options.data.is_empty() || !options.superblock.is_empty()) && options.bind.is_none();
    let mount = if of_filesystem {
        // A link of the image's would choose which filesystem gets the options: the host's, by way of a volume.
        inroot::open_no_links(root, &plan.destination, OFlags::PATH)
    } else {
        inroot::open(root, &plan.destination, OFlags::PATH)
    };
    let mount = mount.step(|| "open the destination")?;
    if of_filesystem {
        let context = fspick(
            &mount,
            c"",
            FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH,
        )
        .step(|| "fspick of the destination")?;
        set_options(&context, options.data.iter().flat_map(|data| data.split(',')))?;
        set_options(&context, options.superblock.iter().copied())?;
        fsconfig_reconfigure(&context).step(|| "fsconfig reconfigure")?;
    }
    change_attributes(&mount, plan)?;
    propagate(&mount, plan)?;
    Ok(mount)
}

/// Gives a filesystem its options, `key=value` or flags.
fn set_options<'a>(context: &OwnedFd, options: impl IntoIterator<Item = &'a str>) -> Result<(), Fail> {
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context, key, value),
            None => fsconfig_set_flag(context, option),
        }
        .step(|| format!("fsconfig {option}"))?;
    }
    Ok(())
}

/// Sets the propagation types asked for, in their order.
pub(crate) fn propagate(tree: &OwnedFd, plan: &MountPlan) -> Result<(), Fail> {
    for (propagation, recursive) in &plan.options.propagation {
        let attr = MountAttr {
            propagation: *propagation,
            ..MountAttr::default()
        };
        sys::mount_setattr(tree, &attr, *recursive).step(|| "setting the propagation")?;
    }
    Ok(())
}

/// Opens the destination, making it when missing, and sees that nothing in `/proc` is covered.
pub(crate) fn open_destination(root: BorrowedFd<'_>, plan: &MountPlan, make: Make) -> Result<OwnedFd, Fail> {
    let shown = plan.destination.display();
    let destination = if plan.options.destination_nofollow {
        inroot::ensure_nofollow(root, &plan.destination, make)
    } else {
        inroot::ensure(root, &plan.destination, make)
    }
    .step(|| format!("create mountpoint for {shown} mount"))?;
    let in_proc = plan.destination.starts_with("/proc") && plan.destination != Path::new("/proc");
    let on_proc = plan.destination != Path::new("/proc")
        && is_on(&destination, PROC_MAGIC).step(|| "statfs of the destination")?;
    let allowed = ALLOWED_IN_PROC.iter().any(|path| plan.destination == Path::new(path));
    if (in_proc || on_proc) && !allowed {
        return Err(Fail(format!(
            "{shown:?} cannot be mounted because it is inside /proc",
            shown = shown.to_string()
        )));
    }
    Ok(destination)
}

/// The permissions of a directory that is there: a tmpfs over it takes them. One that has to be made is writable by all, as the kernel makes it.
fn mode_of(root: BorrowedFd<'_>, path: &Path) -> Option<u32> {
    let directory = inroot::open(root, path, OFlags::PATH).ok()?;
    Some(fs::fstat(directory).ok()?.st_mode & 0o7777)
}

fn filesystem(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    fstype: &str,
    source: &str,
    prepared: Option<&Source>,
) -> Result<OwnedFd, Fail> {
    let given = |data: &String| data.split(',').any(|option| option.starts_with("mode="));
    let existing = if fstype == "tmpfs" && !plan.options.data.iter().any(given) {
        mode_of(root, &plan.destination)
    } else {
        None
    };
    let destination = if matches!(fstype, "proc" | "sysfs") {
        ordinary_directory(root, plan, fstype)?
    } else {
        open_destination(root, plan, Make::Directory)?
    };
    if plan.destination == Path::new("/proc") && fstype != "proc" {
        return Err(Fail(format!(
            "{:?} cannot be mounted because it is not of type proc",
            "/proc"
        )));
    }
    let mut data: Vec<String> = plan
        .options
        .data
        .iter()
        .flat_map(|d| d.split(','))
        .map(str::to_owned)
        .collect();
    data.extend(existing.map(|mode| format!("mode={mode:o}")));
    let long = |option: &String| {
        option
            .split_once('=')
            .is_some_and(|(_, value)| value.len() > FSCONFIG_LIMIT)
    };
    let tree = if data.iter().any(long) {
        // In quotes: a context may have commas.
        data.extend(plan.label.as_ref().map(|label| format!("context=\"{label}\"")));
        classic(root, fstype, source, &data, plan)?
    } else {
        labels::new_instance(fstype, source, data, plan)?
    };
    if let Some(Source::UserNamespace(userns)) = prepared {
        map_ids(&tree, userns, false).step(|| format!("failed to set MOUNT_ATTR_IDMAP on {fstype}"))?;
    }
    if plan.options.copy_up && fstype == "tmpfs" {
        copy_up::copy(&destination, &tree)?;
    }
    attach(&tree, &destination).step(|| "move_mount")?;
    propagate(&tree, plan)?;
    Ok(tree)
}

/// The destination of a proc or sysfs mount: were it a link, the runtime's own later writes would go astray (CVE-2019-19921).
fn ordinary_directory(root: BorrowedFd<'_>, plan: &MountPlan, fstype: &str) -> Result<OwnedFd, Fail> {
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let open = || inroot::open_no_links(root, &plan.destination, directory);
    let opened = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            inroot::ensure(root, &plan.destination, Make::Directory)
                .step(|| format!("create mountpoint for {} mount", plan.destination.display()))?;
            open()
        }
        result => result,
    };
    opened.map_err(|_| Fail(format!("filesystem {fstype:?} must be mounted on ordinary directory")))
}

/// A new, detached instance of a filesystem with the mount's attributes.
pub(super) fn new_instance(fstype: &str, source: &str, data: &[String], plan: &MountPlan) -> Result<OwnedFd, Fail> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).step(|| format!("fsopen {fstype}"))?;
    make_instance(&context, fstype, source, data, plan).map_err(|Fail(why)| Fail(why + &kernels_words(&context)))
}

fn make_instance(
    context: &OwnedFd,
    fstype: &str,
    source: &str,
    data: &[String],
    plan: &MountPlan,
) -> Result<OwnedFd, Fail> {
    if !source.is_empty() {
        fsconfig_set_string(context, "source", source).step(|| format!("fsconfig source={source}"))?;
    }
    set_options(context, data.iter().map(String::as_str))?;
    set_options(context, plan.options.superblock.iter().copied())?;
    fsconfig_create(context).step(|| format!("fsconfig create {fstype}"))?;
    let attr = initial_attributes(plan);
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attr).unwrap_or(0));
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, flags).step(|| "fsmount")
}

/// What the kernel wrote into the log of a filesystem context, in parentheses: `e VFS: Mount too revealing`, or nothing.
fn kernels_words(context: &OwnedFd) -> String {
    let mut words = String::new();
    let mut line = [0_u8; 256];
    // One line a read; no data is the end.
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        let text = text.trim().trim_start_matches("e ");
        words += &format!(" ({text})");
        if text.ends_with("Mount too revealing") {
            words +=
                ": what is covered in the /proc or /sys of the host or outer container would be laid open by a new one";
        }
    }
    words
}

/// What a new mount has from the start. Read-only comes last where something is still to be made in it.
fn initial_attributes(plan: &MountPlan) -> u64 {
    let attr = plan.options.attr.set | plan.options.recursive_attr.set;
    if plan.read_only_at_the_end() || plan.options.copy_up {
        attr & !sys::ATTR_RDONLY
    } else {
        attr
    }
}

/// `mount(2)`, for values that are too long for `fsconfig`; the result is detached, as from [`new_instance`].
///
/// It takes a place with a name. That is a tmpfs of our own which covers the root for the time of the call: nobody else can put anything
/// in the way there. The host's `/proc`, which is still the one in place, leads to it by descriptor.
fn classic(
    root: BorrowedFd<'_>,
    fstype: &str,
    source: &str,
    data: &[String],
    plan: &MountPlan,
) -> Result<OwnedFd, Fail> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).step(|| "fsopen tmpfs")?;
    fsconfig_create(&context).step(|| "fsconfig create tmpfs")?;
    let scratch = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).step(|| "fsmount")?;
    fs::mkdirat(&scratch, c"place", Mode::from_raw_mode(0o700)).step(|| "mkdir")?;
    let look = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = fs::openat(&scratch, c"place", look, Mode::empty()).step(|| "open the new place")?;
    attach(&scratch, root).step(|| "move_mount")?;
    let by_descriptor = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let made = mount_at(&by_descriptor(&place), fstype, source, data)
        .and_then(|()| open_tree(&scratch, c"place", clone_flags(true)).step(|| "open_tree of the new mount"));
    unmount(by_descriptor(&scratch), UnmountFlags::DETACH).step(|| "unmount")?;
    let tree = made?;
    let set = initial_attributes(plan);
    change(&tree, AttrChange { set, clear: 0 }, false).step(|| "mount_setattr")?;
    Ok(tree)
}

fn mount_at(target: &str, fstype: &str, source: &str, data: &[String]) -> Result<(), Fail> {
    let text = |value: &str| CString::new(value).map_err(|_| Fail::new("an option contains a NUL byte"));
    sys::mount(
        &text(source)?,
        &text(target)?,
        &text(fstype)?,
        0,
        &text(&data.join(","))?,
    )
    .step(|| "mount")
}
