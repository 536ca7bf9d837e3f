//! The one call that no crate of ours has.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Has the kernel begin to write a part of a file to the disk, and does not wait for it. Only a hint: a file system that does
/// not know it writes later.
pub(crate) fn begin_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return;
    };
    // SAFETY: the descriptor is open for as long as the file is borrowed, and the call takes no memory of ours.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if done != 0 {
        tracing::trace!(error = %std::io::Error::last_os_error(), "no early write-back");
    }
}
