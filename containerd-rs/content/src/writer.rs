//! An open ingest.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use containerd_rs_core::{ContentWriter, Digest, Error, IngestStatus, Labels, Result, Timestamp};

use crate::hash::Hasher;
use crate::ingest::IngestDir;
use crate::locks::RefLock;
use crate::store::Layout;

/// Bytes after which the disk is asked to begin.
const EARLY: u64 = 8 << 20;

/// The writer of one ref. Dropped without a commit, it leaves the ingest to be resumed.
pub(crate) struct LocalWriter {
    layout: Arc<Layout>,
    dir: IngestDir,
    file: File,
    hash: Hasher,
    status: IngestStatus,
    /// Whether the files of the ingest still want the time of the last write.
    untold: bool,
    /// Up to where the disk was asked to begin.
    begun: u64,
    /// Given back last.
    _lock: RefLock,
}

impl LocalWriter {
    /// Opens or resumes; bytes that are there are hashed anew.
    pub(crate) fn open(
        layout: Arc<Layout>,
        lock: RefLock,
        reference: &str,
        total: u64,
        expected: Option<&Digest>,
    ) -> Result<Self> {
        let dir = layout.ingest(reference);
        let (mut file, mut status) = dir.open(reference, total)?;
        let mut hash = Hasher::new(expected);
        status.offset = rehash(&mut file, &mut hash, &dir)?;
        status.expected = expected.cloned();
        let begun = status.offset;
        Ok(LocalWriter {
            layout,
            dir,
            file,
            hash,
            status,
            untold: false,
            begun,
            _lock: lock,
        })
    }

    fn finish(&mut self, size: u64, expected: Option<&Digest>) -> Result<Digest> {
        if size > 0 && size != self.status.offset {
            return Err(Error::FailedPrecondition(format!(
                "unexpected commit size {}, expected {size}",
                self.status.offset
            )));
        }
        let digest = self.hash.digest()?;
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(Error::FailedPrecondition(format!(
                "unexpected commit digest {digest}, expected {expected}"
            )));
        }
        let target = self.layout.blob(&digest);
        if target.exists() {
            self.dir.remove()?;
            return Err(Error::AlreadyExists(format!("content {digest}")));
        }
        let source = self.dir.data();
        let on = |call: &str, e| Error::io(format!("{call} {}", source.display()), e);
        self.file
            .set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(|e| on("chmod", e))?;
        self.file.sync_data().map_err(|e| on("fdatasync", e))?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(format!("mkdir {}", parent.display()), e))?;
        }
        fs::rename(&source, &target).map_err(|e| on("rename", e))?;
        self.untold = false;
        if let Err(error) = self.dir.remove() {
            // The blob is there; what is left is a directory without data, which the next ingest of the ref replaces.
            tracing::warn!(%error, "an ingest's directory stays");
        }
        Ok(digest)
    }
}

/// Reads what an earlier writer left into the hash, and leaves the file at its end.
fn rehash(file: &mut File, hash: &mut Hasher, dir: &IngestDir) -> Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(offset),
            Ok(n) => {
                hash.update(&buffer[..n]);
                offset += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(format!("read {}", dir.data().display()), e)),
        }
    }
}

impl ContentWriter for LocalWriter {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        if let Err(e) = self.file.write_all(data) {
            // Part of it may be in the file: the hash and the offset must not run apart from it.
            let back = self
                .file
                .set_len(self.status.offset)
                .and_then(|()| self.file.seek(SeekFrom::End(0)));
            if let Err(error) = back {
                tracing::warn!(path = %self.dir.path.display(), %error, "an ingest could not be cut back");
            }
            return Err(Error::io(format!("write {}", self.dir.data().display()), e));
        }
        self.hash.update(data);
        self.status.offset += data.len() as u64;
        self.status.updated_at = Timestamp::now();
        self.untold = true;
        // The sync of the commit then finds most of it done, while the rest was still on its way here.
        let waiting = self.status.offset - self.begun;
        if waiting >= EARLY {
            crate::sys::begin_writeback(&self.file, self.begun, waiting);
            self.begun = self.status.offset;
        }
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        if size != 0 {
            return Err(Error::Unimplemented("Truncate: unsupported size".into()));
        }
        let done = self.file.set_len(0).and_then(|()| self.file.rewind());
        done.map_err(|e| Error::io(format!("truncate {}", self.dir.data().display()), e))?;
        self.hash = Hasher::new(self.status.expected.as_ref());
        self.status.offset = 0;
        self.begun = 0;
        Ok(())
    }

    fn status(&self) -> IngestStatus {
        self.status.clone()
    }

    fn digest(&self) -> Result<Digest> {
        self.hash.digest()
    }

    fn commit(mut self: Box<Self>, size: u64, expected: Option<&Digest>, _labels: &Labels) -> Result<Digest> {
        self.finish(size, expected)
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if self.untold
            && let Err(error) = self.dir.touch(self.status.updated_at)
        {
            tracing::debug!(%error, "the time of an ingest's last write is lost");
        }
    }
}
