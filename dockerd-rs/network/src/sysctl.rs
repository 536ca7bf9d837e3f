//! Kernel settings below `/proc/sys/net`, which show the network namespace of the thread that opens them.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// The value of `key` (`ipv4/ip_forward`), without the line's end.
pub(crate) fn get(key: &str) -> Result<String> {
    let path = path(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(Error::Io {
            what: "read",
            path,
            source,
        }),
    }
}

/// Sets `key` to `value` unless it has it. True when it was changed.
pub(crate) fn set(key: &str, value: &str) -> Result<bool> {
    if get(key)? == value {
        return Ok(false);
    }
    let path = path(key);
    match fs::write(&path, value) {
        Ok(()) => Ok(true),
        Err(source) => Err(Error::Io {
            what: "write",
            path,
            source,
        }),
    }
}

/// As [`set`], for a setting of IPv6: a kernel without it has nothing to be switched off.
pub(crate) fn set_if_present(key: &str, value: &str) -> Result<bool> {
    match set(key, value) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}
