//! `mount_setattr(2)` and namespace descriptors.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::check;

/// Mount is read-only.
pub(crate) const ATTR_RDONLY: u64 = 0x1;
/// Ignore set-user-id bits and file capabilities.
pub(crate) const ATTR_NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub(crate) const ATTR_NODEV: u64 = 0x4;
/// Programs cannot be executed.
pub(crate) const ATTR_NOEXEC: u64 = 0x8;
/// Mask of the access-time modes (0 is `relatime`).
pub(crate) const ATTR_ATIME: u64 = 0x70;
/// Access times are not updated.
pub(crate) const ATTR_NOATIME: u64 = 0x10;
/// Access times are always updated.
pub(crate) const ATTR_STRICTATIME: u64 = 0x20;
/// Access times of directories are not updated.
pub(crate) const ATTR_NODIRATIME: u64 = 0x80;
/// The mount's ids are mapped by a user namespace.
pub(crate) const ATTR_IDMAP: u64 = 0x10_0000;
/// Symbolic links are not followed.
pub(crate) const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

const AT_EMPTY_PATH: libc::c_int = 0x1000;
const AT_RECURSIVE: libc::c_int = 0x8000;

/// `struct mount_attr` of `<linux/mount.h>`, version 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    /// Attributes to set.
    pub(crate) set: u64,
    /// Attributes to clear, before setting.
    pub(crate) clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for no change.
    pub(crate) propagation: u64,
    /// The user namespace for `ATTR_IDMAP`.
    pub(crate) userns_fd: u64,
}

/// Changes attributes of the mount that `fd` is the root of; with `recursive` of everything mounted beneath it too.
pub(crate) fn mount_setattr(fd: impl AsFd, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let empty: &CStr = c"";
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid C string, `attr` a valid `struct mount_attr` of the size passed; the kernel only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            empty.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// The `CLONE_NEW*` flag of the namespace that `fd` refers to (`NS_GET_NSTYPE`).
///
/// # Errors
/// `ENOTTY` when it is no namespace.
pub(crate) fn namespace_type(fd: BorrowedFd<'_>) -> io::Result<i32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this ioctl takes no argument and returns an integer.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    check(libc::c_long::from(kind))?;
    Ok(kind)
}

/// `unshare(2)` of the calling thread.
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no memory is passed; the flags used here never include CLONE_FILES, so descriptors keep their owners.
    check(libc::c_long::from(unsafe { libc::unshare(flags) }))?;
    Ok(())
}

/// `setns(2)` of the calling thread.
pub(crate) fn setns(fd: impl AsFd, flags: i32) -> io::Result<()> {
    // SAFETY: no memory is passed; the descriptor is open for the time of the call.
    check(libc::c_long::from(unsafe {
        libc::setns(fd.as_fd().as_raw_fd(), flags)
    }))?;
    Ok(())
}

/// Classic `mount(2)`, for filesystem options that `fsconfig` cannot carry (values over 255 bytes).
pub(crate) fn mount(source: &CStr, target: &CStr, fstype: &CStr, flags: libc::c_ulong, data: &CStr) -> io::Result<()> {
    // SAFETY: all pointers are valid C strings that the kernel only reads.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            fstype.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    check(libc::c_long::from(result))?;
    Ok(())
}

/// Changes the propagation of `target`, recursively where `flags` has `MS_REC`.
pub(crate) fn set_propagation(target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the target is a valid C string; source, type and data are documented as ignored and may be null.
    let result = unsafe {
        libc::mount(
            std::ptr::null(),
            target.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    check(libc::c_long::from(result))?;
    Ok(())
}
