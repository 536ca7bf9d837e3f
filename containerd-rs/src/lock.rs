//! One engine a directory: a locked file with the holder's pid.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::EngineError;

/// The lock of a directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    const NAME: &str = "containerd-rs.lock";

    /// Takes the lock. The file is not removed at the end: a lock on a name that somebody removes protects nothing.
    pub(crate) fn take(directory: &Path) -> Result<Self, EngineError> {
        let path = directory.join(Self::NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(EngineError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The pid is a help for people; without it the answer is the same.
                let _ = (&mut file).take(16).read_to_string(&mut pid);
                let holder = pid
                    .trim()
                    .parse::<u32>()
                    .map_or_else(|_| String::new(), |pid| format!(" (process {pid})"));
                return Err(EngineError::InUse {
                    path: directory.to_owned(),
                    holder,
                });
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(EngineError::io("lock", path)(e)),
        }
        file.set_len(0).map_err(EngineError::io("truncate", &path))?;
        writeln!(file, "{}", std::process::id()).map_err(EngineError::io("write", &path))?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        let error = DirectoryLock::take(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("in use by another engine (process {})", std::process::id())),
            "{error}"
        );
        drop(first);
        DirectoryLock::take(directory.path()).unwrap();
    }
}
