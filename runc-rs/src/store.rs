//! The state directory: one directory for each container, made atomically, locked while it changes.
//!
//! `ROOT/ID/state.json` is the record, `seccomp.bpf` the filter, and somebody reads at `exec.fifo` as long as the container waits for
//! `start`. The lock is `flock` on `ROOT/ID` itself: it dies with its holder.
//!
//! What lies there may be broken: cut off by a full disk or a crash, or put there by somebody else. Links are not followed, nothing is
//! waited for, and no more is read than a record can have.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, mknodat, openat, statat};
use rustix::io::Errno;

use crate::Error;
use crate::record::{Record, VERSION};

/// Longest id, in bytes.
const ID_LIMIT: usize = 1024;

/// Longest file that is read: annotations and hooks are the configuration's, so a record can be large, but not that large.
const FILE_LIMIT: u64 = 64 << 20;
/// Longest text of a process that fails after it has been woken: what a pipe holds at the least.
const FAILURE_LIMIT: usize = 4096;

/// How long a command waits for another one on the same container. Longer than a killed process may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How often `create` makes a directory that is deleted from under it.
const ATTEMPTS: usize = 16;

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
        for _ in 0..ATTEMPTS {
            directory.make(root)?;
            match directory.lock() {
                // A `delete` came between and found no record.
                Err(Error::NotFound(_)) => {}
                result => return Ok((directory, result?)),
            }
        }
        Err(Error::Busy(id.into()))
    }

    fn make(&self, root: &Path) -> Result<(), Error> {
        let make = || fs::DirBuilder::new().mode(0o711).create(&self.path);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parents = fs::DirBuilder::new().mode(0o711).recursive(true).create(root);
                parents.map_err(|error| Error::file("mkdir", root, error))?;
                make()
            }
            result => result,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists(self.id.clone())),
            result => result.map_err(|error| Error::file("mkdir", &self.path, error)),
        }
    }

    /// Waits for the lock. [`Error::NotFound`] when the container is not there (any more), [`Error::Busy`] when another command holds it
    /// for longer than anybody should.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        self.lock_within(PATIENCE)?.ok_or_else(|| Error::Busy(self.id.clone()))
    }

    /// As [`Self::lock`]; `None` when it is held for longer than `limit`.
    pub(crate) fn lock_within(&self, limit: Duration) -> Result<Option<Lock>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(CWD, &self.path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Error::NotFound(self.id.clone())),
            result => result.map_err(|error| Error::file("open", &self.path, error))?,
        };
        let start = Instant::now();
        let mut delay = Duration::from_micros(200);
        loop {
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if start.elapsed() >= limit => return Ok(None),
                Err(Errno::WOULDBLOCK) => {
                    std::thread::sleep(delay);
                    delay = (delay * 2).min(Duration::from_millis(20));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::file("flock", &self.path, error)),
            }
        }
        // Whoever held the lock before may have removed the directory, and somebody else may have made another one.
        let same = fstat(&fd).is_ok_and(|ours| {
            statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
        });
        if same {
            Ok(Some(Lock(fd)))
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
        let text = match read_bounded(&path) {
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
        if record.id != self.id {
            return Err(Error::Json {
                path,
                message: format!("the record is of the container {}", record.id),
            });
        }
        Ok(record)
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What lies in the record's place, where [`Self::load`] cannot make sense of it.
    pub(crate) fn raw_record(&self) -> Option<Vec<u8>> {
        read_bounded(&self.record_path()).ok()
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
        read_bounded(&path).map_err(|error| Error::file("read", path, error))
    }

    /// Makes the fifo that stands for "created, waits for start", and opens it so that reading waits although nobody writes.
    pub(crate) fn make_fifo(&self) -> Result<OwnedFd, Error> {
        let path = self.fifo_path();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(|error| Error::file("mkfifo", &path, error))?;
        openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::file("open", path, error))
    }

    /// Opens the fifo for writing; `None` when nobody reads at its other end: the container runs, or has ended.
    fn open_fifo(&self) -> Result<Option<OwnedFd>, Error> {
        let path = self.fifo_path();
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            result => result.map(Some).map_err(|error| Error::file("open", path, error)),
        }
    }

    /// Whether the container still waits for `start`. A fifo without a reader is what a `start` that was killed has left.
    pub(crate) fn waits_for_start(&self) -> bool {
        match self.open_fifo() {
            Ok(fifo) => fifo.is_some(),
            // Somebody who may look but not write.
            Err(_) => self.fifo_path().exists(),
        }
    }

    /// Wakes the waiting process. `None` when nobody waits at the fifo's other end.
    pub(crate) fn wake(&self) -> Result<Option<Woken>, Error> {
        let Some(fifo) = self.open_fifo()? else {
            return Ok(None);
        };
        let path = self.fifo_path();
        // Should the container die now, we are a reader ourselves: no signal for a broken pipe comes over our program.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let reader = openat(CWD, &path, flags, Mode::empty()).map_err(|error| Error::file("open", &path, error))?;
        rustix::io::write(&fifo, b"0").map_err(|error| Error::file("write", &path, error))?;
        // Without a reader it means the same as if it were gone, so where it cannot be removed (read-only) it may stay.
        let _ = fs::remove_file(&path);
        Ok(Some(Woken(reader)))
    }

    /// Removes the directory with everything in it. The record goes before the directory: without one there is no container.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        for file in [self.fifo_path(), self.filter_path(), self.record_path()] {
            // What cannot be removed so is found by the next step, which says why.
            let _ = fs::remove_file(&file);
        }
        let removed = match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(&self.path),
            result => result,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &self.path, error)),
            _ => Ok(()),
        }
    }
}

/// A container's process that has been woken: our read end of its fifo, of which the process holds the last write end until it executes.
pub(crate) struct Woken(OwnedFd);

impl Woken {
    /// Waits until the process has executed its program or has ended. Returns what it left to say when it failed before.
    pub(crate) fn executed(self) -> Result<Option<String>, Error> {
        let failed = |error: Errno| Error::system("wait for the container's process", error);
        loop {
            // Asked for nothing, poll still tells of a fifo that nobody can write to any more.
            match poll(&mut [PollFd::new(&self.0, PollFlags::empty())], None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let mut text = vec![0; FAILURE_LIMIT];
        let length = rustix::io::read(&self.0, &mut text).map_err(failed)?;
        text.truncate(length);
        // Our own byte, which nobody has read.
        Ok((length > 1).then(|| String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Reads a regular file of bounded size, and nothing else: a fifo in its place would keep us for ever.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::File::from(openat(CWD, path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    if metadata.len() > FILE_LIMIT {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(text)
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
    fn a_lock_on_a_directory_that_was_replaced_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (directory, lock) = Directory::create(root.path(), "c").unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| directory.lock_within(Duration::from_millis(200)));
            // The waiter has the old directory open, or finds the new one: both are right, an old one that is locked is not.
            directory.remove().unwrap();
            let (_, _new) = Directory::create(root.path(), "c").unwrap();
            drop(lock);
            assert!(matches!(waiter.join().unwrap(), Err(Error::NotFound(_)) | Ok(None)));
        });
    }

    #[test]
    fn a_record_that_is_no_file_keeps_nobody() {
        let root = tempfile::tempdir().unwrap();
        let (directory, _lock) = Directory::create(root.path(), "c").unwrap();
        let path = directory.record_path();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(matches!(directory.load(), Err(Error::File { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(directory.load(), Err(Error::File { .. })));
        directory.remove().unwrap();
        assert!(!root.path().join("c").exists());
    }

    #[test]
    fn nobody_at_the_fifo_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (directory, _lock) = Directory::create(root.path(), "c").unwrap();
        let reader = directory.make_fifo().unwrap();
        assert!(directory.waits_for_start());
        drop(reader);
        assert!(!directory.waits_for_start());
        assert!(directory.wake().unwrap().is_none());
        fs::remove_file(directory.fifo_path()).unwrap();
        let _reader = directory.make_fifo().unwrap();
        assert!(directory.wake().unwrap().is_some());
        assert!(!directory.waits_for_start());
    }
}
