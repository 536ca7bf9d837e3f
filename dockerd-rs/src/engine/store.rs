//! Records on disk: `<data-root>/containers/<id>/config.v2.json`.
//!
//! A record is written to a temporary file and renamed, so a reader finds the old or the new one, also after the daemon was killed. It is
//! *not* synced on the way of a request: that would put 5 ms for each change of state on the path of `docker run`, and what a power failure
//! can take back is only the last state of containers that the same failure ended. A thread of its own syncs behind the request instead;
//! when it is busy, changes of one record melt into one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::model::{Record, VERSION};
use crate::error::{Error, Result};

const FILE: &str = "config.v2.json";
const TEMPORARY: &str = ".tmp-config.v2.json";

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    sync: mpsc::Sender<PathBuf>,
}

/// What [`Store::load`] found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Records that can be read.
    pub(crate) records: Vec<Record>,
    /// Directories without a readable record, with the reason.
    pub(crate) broken: Vec<(String, String)>,
}

impl Store {
    /// Opens, or makes, the directory.
    pub(crate) fn open(data_root: &Path) -> Result<Self> {
        let root = data_root.join("containers");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(&root)
            .map_err(|e| Error::failed(format!("mkdir {}", root.display()), e))?;
        let (sync, paths) = mpsc::channel();
        std::thread::Builder::new()
            .name("record-sync".to_owned())
            .spawn(move || sync_behind(&paths))
            .map_err(|e| Error::failed("thread record-sync", e))?;
        Ok(Self { root, sync })
    }

    /// The directory of one container.
    pub(crate) fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Makes the directory of a new container.
    pub(crate) fn make_directory(&self, id: &str) -> Result<PathBuf> {
        let path = self.directory(id);
        fs::DirBuilder::new()
            .mode(0o710)
            .create(&path)
            .map_err(|e| Error::failed(format!("mkdir {}", path.display()), e))?;
        Ok(path)
    }

    /// Writes a record over the old one.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let directory = self.directory(&record.id);
        let write = || -> io::Result<()> {
            let temporary = directory.join(TEMPORARY);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            drop(file);
            fs::rename(&temporary, directory.join(FILE))
        };
        write().map_err(|e| Error::failed(format!("write {}", directory.join(FILE).display()), e))?;
        // The thread lives as long as the store.
        let _ = self.sync.send(directory);
        Ok(())
    }

    /// Takes a container's directory away; what is gone is gone.
    pub(crate) fn remove(&self, id: &str) -> Result<()> {
        let directory = self.directory(id);
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::failed(format!("remove {}", directory.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// Reads every record.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let failed = |e: io::Error| Error::failed(format!("read {}", self.root.display()), e);
        let mut loaded = Loaded::default();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let id = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            match self.read(&id) {
                Ok(record) => loaded.records.push(record),
                Err(reason) => loaded.broken.push((id, reason)),
            }
        }
        loaded.records.sort_by(|a, b| a.created.cmp(&b.created));
        Ok(loaded)
    }

    fn read(&self, id: &str) -> Result<Record, String> {
        let text = fs::read(self.directory(id).join(FILE)).map_err(|e| e.to_string())?;
        let record: Record = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        if record.version != VERSION {
            return Err(format!(
                "format version {} (this daemon knows {VERSION})",
                record.version
            ));
        }
        if record.id != id {
            return Err(format!("names another container: {}", record.id));
        }
        Ok(record)
    }
}

fn sync_behind(paths: &mpsc::Receiver<PathBuf>) {
    while let Ok(first) = paths.recv() {
        let waiting: HashSet<PathBuf> = std::iter::once(first).chain(paths.try_iter()).collect();
        for directory in waiting {
            // A container may be gone by now: then there is nothing to keep.
            let synced = File::open(directory.join(FILE))
                .and_then(|file| file.sync_data())
                .and_then(|()| File::open(&directory)?.sync_all());
            if let Err(error) = synced
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(directory = %directory.display(), %error, "sync of a record");
            }
        }
    }
}
