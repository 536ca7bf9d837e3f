//! Room for the database file, taken before it is needed.
//!
//! redb gives up for good when a write fails, and its file grows with holes. So the blocks are taken here first, with some to
//! spare: on a full disk a transaction fails before redb has begun to write it, reads go on, and what is
//! spare is enough to delete things.

use std::fs::File;
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Result};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes taken beyond the file's end.
const SPARE: u64 = 2 << 20;

/// The room that is taken.
pub(crate) struct Reserve {
    file: File,
    path: PathBuf,
    /// Up to where blocks are taken.
    taken: u64,
    /// The length when we looked last: cutting the file gives blocks back.
    length: u64,
}

impl Reserve {
    /// For the database's file.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Ok(Reserve {
            file,
            path: path.to_path_buf(),
            taken: 0,
            length: 0,
        })
    }

    /// Takes room for all of the file as it is now.
    ///
    /// # Errors
    /// `Io` (kind `ResourceExhausted`) when there is none.
    pub(crate) fn cover(&mut self) -> Result<()> {
        let on = |call: &str, e: std::io::Error| Error::io(format!("{call} {}", self.path.display()), e);
        let length = self.file.metadata().map_err(|e| on("stat", e))?.len();
        if length < self.length {
            self.taken = self.taken.min(length);
        }
        self.length = length;
        if length + SPARE / 2 <= self.taken {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length + SPARE) {
            Ok(()) => self.taken = length + SPARE,
            // What is spare is for now.
            Err(Errno::NOSPC | Errno::DQUOT) if length <= self.taken => {}
            Err(Errno::NOTSUP) => self.taken = u64::MAX,
            Err(e) => return Err(on("take room for", e.into())),
        }
        Ok(())
    }
}
