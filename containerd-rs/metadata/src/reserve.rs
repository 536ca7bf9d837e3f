//! Room for the database file, taken before it is needed.
//!
//! redb gives up for good when a write fails, and its file grows with holes, to twice its length at a time. So the blocks of the
//! next growth are taken here first: on a full disk a transaction fails before redb has begun to write it, and reads go on.
//! What is taken then is left to transactions that delete something, since they are the way out.

use std::fs::File;
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Result};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes taken beyond the next growth.
const SPARE: u64 = 1 << 20;

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

    /// Takes room for all of the file as it is now, and for its next growth. One that deletes is content with the former.
    ///
    /// # Errors
    /// `Io` (kind `ResourceExhausted`) when there is none.
    pub(crate) fn cover(&mut self, deletes: bool) -> Result<()> {
        let length = self.file.metadata().map_err(|e| self.error("stat", e))?.len();
        if length < self.length {
            self.taken = self.taken.min(length);
        }
        self.length = length;
        let wanted = length.saturating_mul(2).saturating_add(SPARE);
        if wanted <= self.taken {
            return Ok(());
        }
        match self.take(wanted) {
            Err(e @ (Errno::NOSPC | Errno::DQUOT)) => {
                if self.taken < length {
                    self.take(length).map_err(|e| self.error("take room for", e.into()))?;
                }
                if deletes {
                    Ok(())
                } else {
                    Err(self.error("take room for", e.into()))
                }
            }
            other => other.map_err(|e| self.error("take room for", e.into())),
        }
    }

    fn take(&mut self, wanted: u64) -> rustix::io::Result<()> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, wanted) {
            Ok(()) => self.taken = wanted,
            // A file system that cannot promise.
            Err(Errno::NOTSUP) => self.taken = u64::MAX,
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn error(&self, call: &str, e: std::io::Error) -> Error {
        Error::io(format!("{call} {}", self.path.display()), e)
    }
}
