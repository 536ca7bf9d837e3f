//! A blob of unknown digest on its way into the content store.

use std::collections::HashMap;

use containerd_rs_registry::digest::{self, Hasher};

use super::ingest::{Opened, Writer};
use super::scope::{Scope, unique};
use super::store::bad_document;
use crate::error::{Error, Result};

/// Writes and hashes. What the digest should be may be known; what it is turns out in the end.
pub(crate) struct Spool {
    scope: Scope,
    writer: Box<Writer>,
    hasher: Hasher,
    expected: Option<String>,
    size: u64,
    magic: [u8; 4],
}

impl Spool {
    /// Begins a blob of `total` bytes (0 when unknown).
    pub(crate) async fn open(scope: &Scope, total: u64, expected: Option<String>) -> Result<Self> {
        let reference = format!("spool-{}", unique()?);
        scope.ingest_begins(&reference);
        let algorithm = expected.clone().unwrap_or_else(|| digest::sha256(b""));
        let hasher = Hasher::of(&digest::parse(&algorithm).map_err(bad_document)?);
        // Opened without the digest, so that one that exists is read to its end and checked all the same.
        let Opened::Writer(writer) = Writer::open(&scope.store, &reference, total, "").await? else {
            return Err(Error::failed(reference, "a new ingest exists already"));
        };
        let scope = scope.clone();
        Ok(Self {
            scope,
            writer,
            hasher,
            expected,
            size: 0,
            magic: [0; 4],
        })
    }

    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.size < 4 {
            let at = usize::try_from(self.size).unwrap_or(4);
            for (slot, byte) in self.magic.iter_mut().skip(at).zip(bytes) {
                *slot = *byte;
            }
        }
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
        self.writer.write(bytes).await
    }

    /// Bytes written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The first four bytes.
    pub(crate) fn magic(&self) -> [u8; 4] {
        self.magic
    }

    /// Makes the blob, and puts it under the scope's lease. Returns its digest.
    ///
    /// # Errors
    /// When the digest is not the expected one.
    pub(crate) async fn finish(self, labels: HashMap<String, String>) -> Result<String> {
        let found = self.hasher.finish();
        if let Some(expected) = self.expected.filter(|expected| *expected != found) {
            return Err(Error::internal(format!(
                "unexpected commit digest {found}, expected {expected}"
            )));
        }
        self.writer.commit(&found, labels).await?;
        self.scope.store.keep(&self.scope.lease, "content", &found).await?;
        // Where the blob existed, the ingest is still there: the scope aborts it when it ends, once the writer is closed.
        Ok(found)
    }
}
