//! The state directory: one directory for each container, made atomically, locked while it changes.
//!
//! `ROOT/ID/state.json` is the record, `exec.fifo` is there as long as the container waits for `start`, `seccomp.bpf` is its filter.
//! The lock is `flock` on `ROOT/ID` itself: it dies with its holder.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mknodat, openat};
use rustix::io::Errno;

use crate::Error;
use crate::record::{Record, VERSION};

/// Longest id, in bytes.
const ID_LIMIT: usize = 1024;

/// Checks an id as runc does: letters, digits and `_+-.`, not `.` or `..`.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id.len() > ID_LIMIT || id == "." || id == ".." || !id.bytes().all(valid) {
        return Err(Error::InvalidId(id.into()));
    }
    Ok(())
}

/// A container's directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    path: PathBuf,
    id: String,
}

/// Holds the lock of a container's directory.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not read")] OwnedFd);

impl Directory {
    /// The directory of `id` in `root`, whether it is there or not.
    pub(crate) fn new(root: &Path, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        Ok(Self {
            path: root.join(id),
            id: id.into(),
        })
    }

    /// Makes the directory and locks it. An existing one is [`Error::Exists`].
    pub(crate) fn create(root: &Path, id: &str) -> Result<(Self, Lock), Error> {
        let directory = Self::new(root, id)?;
        let make = || fs::DirBuilder::new().mode(0o711).create(&directory.path);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parents = fs::DirBuilder::new().mode(0o711).recursive(true).create(root);
                parents.map_err(|error| Error::file("mkdir", root, error))?;
                make()
            }
            result => result,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists(id.into())),
            Err(error) => return Err(Error::file("mkdir", &directory.path, error)),
        }
        let lock = directory.lock()?;
        Ok((directory, lock))
    }

    /// Waits for the lock. [`Error::NotFound`] when the container is not there (any more).
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match openat(CWD, &self.path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Error::NotFound(self.id.clone())),
            result => result.map_err(|error| Error::file("open", &self.path, error))?,
        };
        loop {
            match flock(&fd, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => break result.map_err(|error| Error::file("flock", &self.path, error))?,
            }
        }
        // Whoever held the lock before may have removed the directory.
        if self.path.exists() {
            Ok(Lock(fd))
        } else {
            Err(Error::NotFound(self.id.clone()))
        }
    }

    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("state.json")
    }

    fn fifo_path(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    fn filter_path(&self) -> PathBuf {
        self.path.join("seccomp.bpf")
    }

    /// Reads the record. [`Error::NotFound`] when there is none (yet).
    pub(crate) fn load(&self) -> Result<Record, Error> {
        let path = self.record_path();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound(self.id.clone())),
            result => result.map_err(|error| Error::file("read", &path, error))?,
        };
        let record: Record = serde_json::from_slice(&text).map_err(|error| Error::Json {
            path: path.clone(),
            message: error.to_string(),
        })?;
        if record.version != VERSION {
            return Err(Error::Json {
                path,
                message: format!("version {} of the record is not known", record.version),
            });
        }
        Ok(record)
    }

    /// Writes the record: a reader sees the old one or the new one.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Error> {
        let path = self.record_path();
        let text = serde_json::to_vec(record).map_err(|error| Error::Json {
            path: path.clone(),
            message: error.to_string(),
        })?;
        write_atomically(&path, &text, 0o600)
    }

    /// Keeps the filter for `exec`.
    pub(crate) fn save_filter(&self, filter: &[u8]) -> Result<(), Error> {
        let path = self.filter_path();
        fs::write(&path, filter).map_err(|error| Error::file("write", path, error))
    }

    pub(crate) fn load_filter(&self) -> Result<Vec<u8>, Error> {
        let path = self.filter_path();
        fs::read(&path).map_err(|error| Error::file("read", path, error))
    }

    /// Makes the fifo that stands for "created, waits for start", and opens it so that reading waits although nobody writes.
    pub(crate) fn make_fifo(&self) -> Result<OwnedFd, Error> {
        let path = self.fifo_path();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(|error| Error::file("mkfifo", &path, error))?;
        openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::file("open", path, error))
    }

    /// Whether the container still waits for `start`.
    pub(crate) fn waits_for_start(&self) -> bool {
        self.fifo_path().exists()
    }

    /// Wakes the waiting process. `false` when nobody waits at the fifo's other end.
    pub(crate) fn wake(&self) -> Result<bool, Error> {
        let path = self.fifo_path();
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = match openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NXIO | Errno::NOENT) => return Ok(false),
            result => result.map_err(|error| Error::file("open", &path, error))?,
        };
        rustix::io::write(&fifo, b"0").map_err(|error| Error::file("write", &path, error))?;
        fs::remove_file(&path).map_err(|error| Error::file("remove", path, error))?;
        Ok(true)
    }

    /// Removes the directory with everything in it.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        for file in [self.fifo_path(), self.filter_path(), self.record_path()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", file, error));
                }
                _ => {}
            }
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                fs::remove_dir_all(&self.path).map_err(|error| Error::file("remove", &self.path, error))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &self.path, error)),
            _ => Ok(()),
        }
    }
}

/// The ids in `root`, sorted.
pub(crate) fn ids(root: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(|error| Error::file("read", root, error))?,
    };
    let mut ids: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| check_id(id).is_ok())
        .collect();
    ids.sort();
    Ok(ids)
}

/// Writes a file beside its place and renames it there.
pub(crate) fn write_atomically(path: &Path, text: &[u8], mode: u32) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(text)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // The error that is reported matters more than a leftover.
        let _ = fs::remove_file(&temporary);
        Error::file("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_not_paths() {
        for good in ["a", "A-1_b+c.d", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "ä", "a b", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_can_be_taken_once() {
        let root = tempfile::tempdir().unwrap();
        let (directory, lock) = Directory::create(root.path(), "c").unwrap();
        assert!(matches!(Directory::create(root.path(), "c"), Err(Error::Exists(_))));
        drop(lock);
        directory.remove().unwrap();
        assert!(matches!(directory.lock(), Err(Error::NotFound(_))));
    }

    #[test]
    fn nobody_at_the_fifo_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (directory, _lock) = Directory::create(root.path(), "c").unwrap();
        let reader = directory.make_fifo().unwrap();
        assert!(directory.waits_for_start());
        drop(reader);
        assert!(!directory.wake().unwrap());
        fs::remove_file(directory.fifo_path()).unwrap();
        let _reader = directory.make_fifo().unwrap();
        assert!(directory.wake().unwrap());
        assert!(!directory.waits_for_start());
    }
}
