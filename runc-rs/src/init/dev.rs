//! `/dev` of the container: nodes, links, `ptmx` and the console. Every name is made beneath a directory opened inside the root.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::fail::{Fail, Step};
use super::mount::{attach, clone_fd, clone_path};
use crate::inroot::{self, Make};
use crate::plan::devices::{DeviceNode, LINKS, NodeKind};

/// Makes the device nodes. In a user namespace nodes cannot be made: the host's are bound.
pub(crate) fn make_nodes(root: BorrowedFd<'_>, nodes: &[DeviceNode], bind: bool) -> Result<(), Fail> {
    for node in nodes {
        // The container's console is ours to make.
        if node.path == Path::new("/dev/ptmx") {
            continue;
        }
        let (parent, name) =
            inroot::ensure_parent(root, &node.path).step(|| format!("create device {}", node.path.display()))?;
        if bind {
            bind_node(root, node)?;
        } else {
            match make_node(&parent, name, node) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => bind_node(root, node)?,
                result => {
                    result.step(|| format!("error creating device node {:?}", node.path.display().to_string()))?
                }
            }
        }
    }
    Ok(())
}

fn make_node(parent: &OwnedFd, name: &OsStr, node: &DeviceNode) -> io::Result<()> {
    let kind = match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
    };
    let number = fs::makedev(node.major, node.minor);
    let mode = Mode::from_raw_mode(node.mode);
    match fs::mknodat(parent, name, kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // The image brought the very node: its mode and owner are set below. Anything else in its place is an error.
            if FileType::from_raw_mode(stat.st_mode) != kind || (kind != FileType::Fifo && stat.st_rdev != number) {
                return Err(Errno::EXIST.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::openat(parent, name, flags, Mode::empty())?;
    let stat = fs::fstat(&made)?;
    // The name may have been given to something else meanwhile, where the directory is a volume that others write to.
    if FileType::from_raw_mode(stat.st_mode) != kind || (kind != FileType::Fifo && stat.st_rdev != number) {
        return Err(Errno::EXIST.into());
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        fs::chownat(&made, c"", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if stat.st_mode & 0o7777 != node.mode {
        // The directory's default ACL may have taken bits away. Modes cannot be set through O_PATH, so through the host's `/proc`,
        // which is the one still in place; never by name.
        fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode)?;
    }
    Ok(())
}

fn bind_node(root: BorrowedFd<'_>, node: &DeviceNode) -> Result<(), Fail> {
    let shown = node.path.display();
    let tree = clone_path(&node.path, false).step(|| format!("bind of device {shown}"))?;
    let destination = inroot::ensure(root, &node.path, Make::File).step(|| format!("create {shown}"))?;
    attach(&tree, &destination).step(|| format!("bind of device {shown}"))
}

/// The links `/dev/fd`, `stdin`, `stdout`, `stderr`, `core`; and `ptmx`, which leads to the container's own devpts.
pub(crate) fn make_links(root: BorrowedFd<'_>) -> Result<(), Fail> {
    let dev = inroot::ensure(root, Path::new("/dev"), Make::Directory).step(|| "create /dev")?;
    let core = fs::access("/proc/kcore", fs::Access::EXISTS)
        .is_ok()
        .then_some(("core", "/proc/kcore"));
    for (name, target) in LINKS.into_iter().chain(core) {
        match fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(|| format!("symlink /dev/{name}")),
        }
    }
    match fs::unlinkat(&dev, c"ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error).step(|| "unlink /dev/ptmx"),
    }
    fs::symlinkat(c"pts/ptmx", &dev, c"ptmx").step(|| "symlink /dev/ptmx")
}

/// Binds the terminal `slave` to `/dev/console`: by descriptor, so that no name in the container's devpts is looked up.
pub(crate) fn bind_console(root: BorrowedFd<'_>, slave: impl AsFd) -> Result<(), Fail> {
    let dev = inroot::ensure(root, Path::new("/dev"), Make::Directory).step(|| "create /dev")?;
    let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match fs::openat(&dev, c"console", new, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).step(|| "create /dev/console"),
    }
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let console = fs::openat(&dev, c"console", look, Mode::empty()).step(|| "open /dev/console")?;
    if FileType::from_raw_mode(fs::fstat(&console).step(|| "stat of /dev/console")?.st_mode) == FileType::Symlink {
        return Err(Fail::new("/dev/console is a symbolic link"));
    }
    let tree = clone_fd(slave, false).step(|| "open_tree of the console")?;
    attach(&tree, &console).step(|| "bind of /dev/console")
}

/// The host's `/dev/null` as a descriptor, seen to be the real one: character device 1:3.
pub(crate) fn host_null() -> Result<OwnedFd, Fail> {
    let null = fs::openat(
        CWD,
        c"/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step(|| "open /dev/null")?;
    let stat = fs::fstat(&null).step(|| "stat of /dev/null")?;
    let real = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == fs::makedev(1, 3);
    if real {
        Ok(null)
    } else {
        Err(Fail::new("/dev/null is not the character device 1:3"))
    }
}
