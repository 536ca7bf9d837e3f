//! json-file logs: written by the daemon where no shim of ours does, and read back from the end, across rotation, as they grow.

mod entry;
mod follow;
mod tail;
mod writer;

pub(crate) use entry::Entry;
pub(crate) use follow::{ReadOptions, read};
pub(crate) use writer::{LogOptions, LogWriter, parse_size};

use std::path::{Path, PathBuf};

/// The log's file number `n`: 0 is the one being written.
pub(crate) fn numbered(path: &Path, n: usize) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}
