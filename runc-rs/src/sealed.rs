//! The running program cannot be overwritten from a container (CVE-2019-5736).
//!
//! A process that enters a container can be found there by `/proc/PID/exe`, and a container's program may be `/proc/self/exe`. So
//! the program runs from a detached, read-only clone of the mount its file lies on: the same pages, no copy, and no way to write.
//! Where mounts may not be cloned (rootless), it runs from a sealed copy in memory.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create, openat,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mounts::{ATTR_RDONLY, MountAttr, mount_setattr};
use crate::sys::process::execveat;

const EXE: &std::ffi::CStr = c"/proc/self/exe";

fn all_seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Whether this process runs from a read-only mount or from sealed memory.
///
/// # Errors
/// When `/proc/self/exe` cannot be opened.
pub fn is_sealed() -> io::Result<bool> {
    let exe = openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if fstatvfs(&exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    Ok(fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(all_seals())))
}

/// Executes this program again, with the same arguments and environment, from a read-only clone or a sealed copy of its file;
/// returns at once when it runs from one already. To be called first thing in `main`, before threads and descriptors.
///
/// # Errors
/// When neither the one nor the other can be made or executed.
pub fn ensure() -> io::Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let exe = executable()?;
    let text = |value: std::ffi::OsString| CString::new(value.into_vec());
    let args: Vec<CString> = std::env::args_os().map(text).collect::<Result<_, _>>()?;
    let env: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect::<Result<_, _>>()?;
    Err(execveat(exe.as_fd(), &args, &env))
}

/// This program as a descriptor to execute (`/proc/self/fd/N`), on a read-only clone of its mount or as a sealed copy: for programs that
/// start themselves anew anyway, and so are spared the further exec of [`ensure`].
///
/// # Errors
/// When neither the one nor the other can be made.
pub fn executable() -> io::Result<OwnedFd> {
    clone_read_only().or_else(|_| copy_sealed())
}

fn clone_read_only() -> io::Result<OwnedFd> {
    let tree = open_tree(
        CWD,
        EXE,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    mount_setattr(
        &tree,
        &MountAttr {
            set: ATTR_RDONLY,
            ..MountAttr::default()
        },
        false,
    )?;
    Ok(tree)
}

fn copy_sealed() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // From Linux 6.3 memory may be not executable unless this is asked for; before, the flag is not known.
    let memory = memfd_create(c"runc-rs", flags | MemfdFlags::EXEC).or_else(|_| memfd_create(c"runc-rs", flags))?;
    let mut target = File::from(memory);
    io::copy(&mut File::open("/proc/self/exe")?, &mut target)?;
    target.flush()?;
    fcntl_add_seals(&target, all_seals())?;
    Ok(target.into())
}
