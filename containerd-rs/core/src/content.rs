//! Content: blobs named by their digest, and the ingests that become blobs.
//!
//! Two seams meet here. [`BlobStore`] keeps bytes and knows no namespace. [`ContentStore`] is what services consume: it
//! says who sees which blob, and keeps labels. The second is made of the first and a metadata store.

use serde::{Deserialize, Serialize};

use crate::{Ctx, Digest, Labels, Result, Timestamp};

/// What is known of a blob in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was committed.
    pub created_at: Timestamp,
    /// When its labels were changed last.
    pub updated_at: Timestamp,
    /// Its labels.
    pub labels: Labels,
}

/// What is known of bytes on their way in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// The name its writer gave it.
    pub reference: String,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes that are to come in all; 0 when it is not known.
    pub total: u64,
    /// The digest that is expected, if it is known.
    pub expected: Option<Digest>,
    /// When the first byte was asked for.
    pub started_at: Timestamp,
    /// When the last byte came.
    pub updated_at: Timestamp,
}

/// How to open a writer.
#[derive(Debug, Clone, Default)]
pub struct WriterRequest {
    /// The name of the ingest: opening the same name again resumes it.
    pub reference: String,
    /// Bytes in all, 0 when it is not known.
    pub total: u64,
    /// The digest the bytes are to have, if it is known.
    pub expected: Option<Digest>,
}

/// Random reads of one blob. It stays readable when the blob is deleted meanwhile.
pub trait BlobReader: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Reads some bytes from an offset; 0 at the end only.
    ///
    /// # Errors
    /// `Io` with the path of the blob.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;
}

/// Bytes on their way in. Dropping it keeps the ingest, to be resumed under the same name.
pub trait ContentWriter: Send {
    /// Appends.
    ///
    /// # Errors
    /// `Io`, also for a full disk; what was written before stays.
    fn write(&mut self, data: &[u8]) -> Result<()>;

    /// Starts again from nothing. Only size 0 is offered, as in containerd.
    ///
    /// # Errors
    /// `Unimplemented` for any other size; `Io`.
    fn truncate(&mut self, size: u64) -> Result<()>;

    /// Where it stands.
    fn status(&self) -> IngestStatus;

    /// The digest of what is there so far.
    ///
    /// # Errors
    /// `Internal` for an algorithm that cannot be written down.
    fn digest(&self) -> Result<Digest>;

    /// Makes the bytes a blob. Whatever the answer, the writer is closed; after success the ingest is gone.
    ///
    /// # Errors
    /// `FailedPrecondition` when size (0: any) or digest are not the expected ones; `AlreadyExists` when the blob is
    /// there (the ingest is gone then too).
    fn commit(self: Box<Self>, size: u64, expected: Option<&Digest>, labels: &Labels) -> Result<Digest>;
}

/// Where bytes are: a blob store that knows nothing of namespaces and labels.
pub trait BlobStore: Send + Sync {
    /// Size and times of a blob.
    ///
    /// # Errors
    /// `NotFound`.
    fn info(&self, digest: &Digest) -> Result<ContentInfo>;

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `NotFound`.
    fn reader(&self, digest: &Digest) -> Result<Box<dyn BlobReader>>;

    /// All blobs.
    ///
    /// # Errors
    /// `Io`, or what the callback returns.
    fn walk(&self, each: &mut dyn FnMut(ContentInfo) -> Result<()>) -> Result<()>;

    /// Removes a blob.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, digest: &Digest) -> Result<()>;

    /// Opens or resumes an ingest; only one writer may have it.
    ///
    /// # Errors
    /// `Unavailable` when another writer has it (`ref X locked`); `AlreadyExists` when the expected blob is there.
    fn writer(&self, request: &WriterRequest) -> Result<Box<dyn ContentWriter>>;

    /// Where an ingest stands.
    ///
    /// # Errors
    /// `NotFound`.
    fn status(&self, reference: &str) -> Result<IngestStatus>;

    /// All ingests.
    ///
    /// # Errors
    /// `Io`.
    fn statuses(&self) -> Result<Vec<IngestStatus>>;

    /// Drops an ingest, also one that a writer has: its commit fails then.
    ///
    /// # Errors
    /// `NotFound`.
    fn abort(&self, reference: &str) -> Result<()>;
}

/// Reading content of a namespace.
pub trait ContentProvider: Send + Sync {
    /// What is known of a blob.
    ///
    /// # Errors
    /// `NotFound`.
    fn info(&self, ctx: &Ctx, digest: &Digest) -> Result<ContentInfo>;

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `NotFound`.
    fn reader(&self, ctx: &Ctx, digest: &Digest) -> Result<Box<dyn BlobReader>>;
}

/// Changing content of a namespace.
pub trait ContentManager: Send + Sync {
    /// Changes labels. `fields` are paths (`labels`, `labels.x`); none: all that may be changed.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for other fields.
    fn update(&self, ctx: &Ctx, info: &ContentInfo, fields: &[String]) -> Result<ContentInfo>;

    /// All blobs that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse, or what the callback returns.
    fn walk(&self, ctx: &Ctx, filters: &[String], each: &mut dyn FnMut(ContentInfo) -> Result<()>) -> Result<()>;

    /// Takes a blob out of the namespace; its bytes go when the collector finds that nobody else has it.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, ctx: &Ctx, digest: &Digest) -> Result<()>;
}

/// Bringing content into a namespace.
pub trait Ingester: Send + Sync {
    /// Opens or resumes an ingest. A context with a lease puts it, and later the blob, under the lease.
    ///
    /// # Errors
    /// `AlreadyExists` when the namespace has the expected blob; `Unavailable` when another writer has the ingest.
    fn writer(&self, ctx: &Ctx, request: &WriterRequest) -> Result<Box<dyn ContentWriter>>;

    /// Where an ingest stands.
    ///
    /// # Errors
    /// `NotFound`.
    fn status(&self, ctx: &Ctx, reference: &str) -> Result<IngestStatus>;

    /// All ingests that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse.
    fn statuses(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<IngestStatus>>;

    /// Drops an ingest.
    ///
    /// # Errors
    /// `NotFound`.
    fn abort(&self, ctx: &Ctx, reference: &str) -> Result<()>;
}

/// All roles of a content store together.
pub trait ContentStore: ContentProvider + ContentManager + Ingester {}

impl<T: ContentProvider + ContentManager + Ingester + ?Sized> ContentStore for T {}

/// A [`std::io::Read`] over a blob, from an offset on.
pub struct BlobStream {
    reader: Box<dyn BlobReader>,
    offset: u64,
}

impl BlobStream {
    /// Reads from the beginning.
    #[must_use]
    pub fn new(reader: Box<dyn BlobReader>) -> Self {
        BlobStream { reader, offset: 0 }
    }
}

impl std::io::Read for BlobStream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read_at(buf, self.offset).map_err(std::io::Error::other)?;
        self.offset += n as u64;
        Ok(n)
    }
}
