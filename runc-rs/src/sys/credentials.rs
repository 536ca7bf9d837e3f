//! Ids, capabilities, limits and keyrings of the calling process.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

use super::check;

/// Capability sets as bit masks, bit `n` for capability number `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct CapabilityMasks {
    /// What may ever be gained.
    pub(crate) bounding: u64,
    /// What is in force.
    pub(crate) effective: u64,
    /// What survives `execve` of a file with the same inheritable capability.
    pub(crate) inheritable: u64,
    /// What may be made effective.
    pub(crate) permitted: u64,
    /// What survives `execve` of an ordinary file.
    pub(crate) ambient: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops everything outside `mask` from the bounding set.
pub(crate) fn limit_bounding_set(mask: u64) -> io::Result<()> {
    for capability in 0..64 {
        if mask & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: these prctls take integers.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        match held {
            0 => {}
            // The first number the kernel does not know ends the list.
            -1 => break,
            // SAFETY: as above.
            _ => drop(check(libc::c_long::from(unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0)
            }))?),
        }
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets.
pub(crate) fn set_capabilities(masks: &CapabilityMasks) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapHeader {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (masks.effective >> shift) as u32,
        permitted: (masks.permitted >> shift) as u32,
        inheritable: (masks.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes one header and two data elements, which both live until the call returns.
    check(unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), data.as_ptr()) })?;
    Ok(())
}

/// Clears the ambient set and raises what is in `mask`. `Err` carries the capability number that was refused.
pub(crate) fn set_ambient(mask: u64) -> Result<(), (u32, io::Error)> {
    const CLEAR_ALL: libc::c_ulong = 4;
    const RAISE: libc::c_ulong = 2;
    // SAFETY: these prctls take integers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0) };
    for capability in (0..64_u32).filter(|c| mask & (1 << c) != 0) {
        // SAFETY: as above.
        let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, RAISE, libc::c_ulong::from(capability), 0, 0) };
        check(libc::c_long::from(result)).map_err(|e| (capability, e))?;
    }
    Ok(())
}

/// Keep the permitted set over the coming change of user id.
pub(crate) fn keep_capabilities(keep: bool) -> io::Result<()> {
    // SAFETY: PR_SET_KEEPCAPS takes an integer.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0)
    }))?;
    Ok(())
}

/// No later `execve` grants anything that this process does not hold.
pub(crate) fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    }))?;
    Ok(())
}

/// The supplementary groups. By the raw call: the process has one thread, glibc's signalling of the others is not needed.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are of the same slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

/// Real, effective and saved group id.
pub(crate) fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    Ok(())
}

/// Real, effective and saved user id.
pub(crate) fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// One resource limit of the calling process. `resource` is an `RLIMIT_*` number.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let no_old: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: the new limit is valid for the call; a null old limit is allowed.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::from_ref(&limit), no_old) })?;
    Ok(())
}

/// A new session keyring of this name, with search permission for its user.
pub(crate) fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    const SETPERM: libc::c_int = 5;
    const DESCRIBE: libc::c_int = 6;
    const USER_SEARCH: u32 = 0x0008_0000;
    // SAFETY: the name is a C string the kernel only reads.
    let id = check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    let mut text = [0_u8; 256];
    // SAFETY: the kernel writes at most the length passed.
    let length = check(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, id, text.as_mut_ptr(), text.len()) })?;
    // "type;uid;gid;permissions in hex;name"
    let text = text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or(&[]);
    let permissions = text
        .split(|b| *b == b';')
        .nth(3)
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|field| u32::from_str_radix(field, 16).ok());
    if let Some(permissions) = permissions {
        // SAFETY: integers only.
        check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, id, permissions | USER_SEARCH) })?;
    }
    Ok(())
}

/// Host name of the calling process's UTS namespace.
pub(crate) fn set_host_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of the same slice.
    check(libc::c_long::from(unsafe {
        libc::sethostname(name.as_ptr().cast(), name.len())
    }))?;
    Ok(())
}

/// NIS domain name of the calling process's UTS namespace.
pub(crate) fn set_domain_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of the same slice.
    check(libc::c_long::from(unsafe {
        libc::setdomainname(name.as_ptr().cast(), name.len())
    }))?;
    Ok(())
}
