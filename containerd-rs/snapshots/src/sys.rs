//! The one call that needs care.
#![allow(unsafe_code)]

use rustix::thread::UnshareFlags;

/// Takes the calling thread out of shared namespaces.
pub(crate) fn unshare_thread(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the caller is a thread of its own that ends right after; its file descriptors stay shared (no FILES), so no
    // descriptor that others hold means something else in it.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}
