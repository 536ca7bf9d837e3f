//! The directory of one ingest, as containerd writes it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, IngestStatus, Result, Timestamp};

/// Paths of one ingest.
pub(crate) struct IngestDir {
    pub(crate) path: PathBuf,
}

impl IngestDir {
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Makes the directory with its files, or takes it as it is when it is whole; then what was there is told.
    pub(crate) fn open(&self, reference: &str, total: u64) -> Result<(File, IngestStatus)> {
        if let Some(status) = self.resumable(reference, total)? {
            let path = self.data();
            let file = File::options().read(true).write(true).open(&path);
            return Ok((
                file.map_err(|e| Error::io(format!("open {}", path.display()), e))?,
                status,
            ));
        }
        self.remove()?;
        fs::create_dir(&self.path).map_err(|e| Error::io(format!("mkdir {}", self.path.display()), e))?;
        match self.fill(reference, total) {
            Ok(made) => Ok(made),
            Err(error) => {
                // A directory without its files is no ingest; the first error is the one to tell.
                let _ = self.remove();
                Err(error)
            }
        }
    }

    fn fill(&self, reference: &str, total: u64) -> Result<(File, IngestStatus)> {
        let now = Timestamp::now();
        self.write("ref", reference)?;
        self.write("startedat", &now.to_string())?;
        self.write("updatedat", &now.to_string())?;
        if total > 0 {
            self.write("total", &total.to_string())?;
        }
        let path = self.data();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = file.map_err(|e| Error::io(format!("create {}", path.display()), e))?;
        let status = IngestStatus {
            reference: reference.to_owned(),
            total,
            started_at: now,
            updated_at: now,
            ..IngestStatus::default()
        };
        Ok((file, status))
    }

    /// What is there, if it can be gone on with.
    fn resumable(&self, reference: &str, total: u64) -> Result<Option<IngestStatus>> {
        let status = match self.status() {
            Ok(status) => status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => {
                tracing::info!(path = %self.path.display(), %error, "an ingest cannot be resumed and starts anew");
                return Ok(None);
            }
        };
        if status.reference != reference {
            return Err(Error::FailedPrecondition(format!(
                "ref key does not match: {} != {reference}",
                status.reference
            )));
        }
        if total > 0 && status.total > 0 && total != status.total {
            tracing::info!(reference, "an ingest of another size starts anew");
            return Ok(None);
        }
        Ok(Some(IngestStatus {
            total: if status.total > 0 { status.total } else { total },
            ..status
        }))
    }

    /// Where the ingest stands.
    ///
    /// # Errors
    /// `NotFound` when there is none, or not a whole one.
    pub(crate) fn status(&self) -> Result<IngestStatus> {
        let path = self.data();
        let data = fs::metadata(&path).map_err(|e| not_found(&path, e))?;
        let reference = self.read("ref")?;
        let started_at = Timestamp::parse(self.read("startedat")?.trim())?;
        let mut updated_at = Timestamp::parse(self.read("updatedat")?.trim())?;
        // The file is not written with every write, so the data may be newer.
        if let Ok(modified) = data.modified() {
            updated_at = updated_at.max(modified.into());
        }
        let total = match self.read("total") {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.is_not_found() => 0,
            Err(error) => return Err(error),
        };
        Ok(IngestStatus {
            reference,
            offset: data.len(),
            total,
            expected: None,
            started_at,
            updated_at,
        })
    }

    /// Records when the last byte came.
    pub(crate) fn touch(&self, at: Timestamp) -> Result<()> {
        self.write("updatedat", &at.to_string())
    }

    /// Removes the directory; fine when it is gone.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(format!("remove {}", self.path.display()), e)),
            _ => Ok(()),
        }
    }

    /// Writes a small file by a rename, so that it is old or new, never half.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!(".{name}"));
        fs::write(&temporary, text).map_err(|e| Error::io(format!("write {}", temporary.display()), e))?;
        fs::rename(&temporary, &path).map_err(|e| Error::io(format!("rename {}", path.display()), e))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|e| not_found(&path, e))
    }
}

fn not_found(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::NotFound(format!("stat {}: no such file or directory", path.display()))
    } else {
        Error::io(format!("read {}", path.display()), error)
    }
}
