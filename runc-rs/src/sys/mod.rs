//! System calls that neither rustix nor nix offers in the shape needed here. The only module with `unsafe` code.
#![allow(unsafe_code)]

pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod mounts;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod scheduling;

use std::io;

/// The result of a raw call as a `Result`.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
