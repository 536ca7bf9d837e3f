//! The store itself: blobs by name, ingests by ref.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_rs_core::{
    BlobReader, BlobStore, ContentInfo, ContentWriter, Digest, Error, IngestStatus, Labels, Result, Timestamp,
    WriterRequest,
};

use crate::hash;
use crate::ingest::IngestDir;
use crate::locks::Locks;
use crate::writer::LocalWriter;

/// Where things are below the root.
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn ingest(&self, reference: &str) -> IngestDir {
        IngestDir {
            path: self.root.join("ingest").join(hash::of_ref(reference)),
        }
    }
}

/// A blob store in a directory that this process alone owns.
pub struct LocalStore {
    layout: Arc<Layout>,
    locks: Arc<Locks>,
}

impl LocalStore {
    /// Opens the store, and makes its directories (mode 0700) when they are missing.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for path in [root.join("blobs/sha256"), root.join("ingest")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|e| Error::io(format!("mkdir {}", path.display()), e))?;
        }
        Ok(LocalStore {
            layout: Arc::new(Layout { root }),
            locks: Arc::default(),
        })
    }

    fn entries(&self, below: &Path) -> Result<Vec<PathBuf>> {
        let path = self.layout.root.join(below);
        let on = |e| Error::io(format!("readdir {}", path.display()), e);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(on(e)),
        };
        entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(on))
            .collect()
    }
}

fn info(digest: &Digest, metadata: &fs::Metadata) -> ContentInfo {
    let at = Timestamp {
        seconds: metadata.mtime(),
        nanos: i32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    };
    ContentInfo {
        digest: digest.clone(),
        size: metadata.len(),
        created_at: at,
        updated_at: at,
        labels: Labels::new(),
    }
}

fn absent(digest: &Digest, path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::NotFound(format!("content {digest}"))
    } else {
        Error::io(format!("open {}", path.display()), error)
    }
}

impl BlobStore for LocalStore {
    fn info(&self, digest: &Digest) -> Result<ContentInfo> {
        let path = self.layout.blob(digest);
        let metadata = fs::metadata(&path).map_err(|e| absent(digest, &path, e))?;
        Ok(info(digest, &metadata))
    }

    fn reader(&self, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        let path = self.layout.blob(digest);
        let file = File::open(&path).map_err(|e| absent(digest, &path, e))?;
        let metadata = file.metadata().map_err(|e| absent(digest, &path, e))?;
        Ok(Box::new(FileReader {
            file,
            path,
            size: metadata.len(),
        }))
    }

    fn walk(&self, each: &mut dyn FnMut(ContentInfo) -> Result<()>) -> Result<()> {
        for algorithm in ["sha256", "sha384", "sha512"] {
            for path in self.entries(&Path::new("blobs").join(algorithm))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{name}")) else {
                    tracing::warn!(path = %path.display(), "no blob's name");
                    continue;
                };
                match fs::metadata(&path) {
                    Ok(metadata) => each(info(&digest, &metadata))?,
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(absent(&digest, &path, e)),
                }
            }
        }
        Ok(())
    }

    fn delete(&self, digest: &Digest) -> Result<()> {
        let path = self.layout.blob(digest);
        fs::remove_file(&path).map_err(|e| absent(digest, &path, e))
    }

    fn writer(&self, request: &WriterRequest) -> Result<Box<dyn ContentWriter>> {
        if request.reference.is_empty() {
            return Err(Error::InvalidArgument("ref must not be empty".into()));
        }
        let lock = self.locks.lock(&request.reference)?;
        let expected = request.expected.as_ref();
        if let Some(expected) = expected.filter(|expected| self.layout.blob(expected).exists()) {
            return Err(Error::AlreadyExists(format!("content {expected}")));
        }
        let layout = Arc::clone(&self.layout);
        Ok(Box::new(LocalWriter::open(
            layout,
            lock,
            &request.reference,
            request.total,
            expected,
        )?))
    }

    fn status(&self, reference: &str) -> Result<IngestStatus> {
        self.layout.ingest(reference).status()
    }

    fn statuses(&self) -> Result<Vec<IngestStatus>> {
        let mut statuses = Vec::new();
        for path in self.entries(Path::new("ingest"))? {
            match (IngestDir { path }).status() {
                Ok(status) => statuses.push(status),
                // Committed or aborted while we look.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(statuses)
    }

    fn abort(&self, reference: &str) -> Result<()> {
        // Also under an open writer, as in containerd: a client that hung up aborts before its writer is gone. The writer
        // then has a file without a name, and its commit fails.
        let dir = self.layout.ingest(reference);
        if !dir.path.exists() {
            return Err(Error::NotFound(format!("ingest ref {reference:?}")));
        }
        dir.remove()
    }
}

struct FileReader {
    file: File,
    path: PathBuf,
    size: u64,
}

impl BlobReader for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|e| Error::io(format!("read {}", self.path.display()), e)),
            }
        }
    }
}
