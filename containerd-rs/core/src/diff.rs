//! From layers to file systems and back.

use crate::{Ctx, Descriptor, Labels, Mount, Result, Timestamp};

/// The label of a compressed layer that tells the digest of its plain tar (the diff id).
pub const LABEL_UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Applies a layer to a file system.
pub trait Applier: Send + Sync {
    /// Unpacks the blob into what the mounts make, and answers with the descriptor of the plain tar (its digest is the
    /// diff id). The compressed bytes are verified on the way.
    ///
    /// # Errors
    /// `NotFound` for the blob; `InvalidArgument` for entries that lead out of the root or cannot be understood;
    /// `FailedPrecondition` when the bytes do not have the digest; `Unimplemented` for unknown media types.
    fn apply(&self, ctx: &Ctx, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor>;
}

/// How to make a layer.
#[derive(Debug, Clone, Default)]
pub struct DiffRequest {
    /// Media type of the layer; empty: gzip in OCI's name.
    pub media_type: String,
    /// Name of the ingest; empty: one is made up.
    pub reference: String,
    /// Labels of the blob.
    pub labels: Labels,
    /// No time in the layer is later than this (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<Timestamp>,
}

/// Makes a layer of the difference between two file systems.
pub trait Comparer: Send + Sync {
    /// Writes the layer into the content store, and answers with its descriptor. The blob's label
    /// [`LABEL_UNCOMPRESSED`] has the diff id.
    ///
    /// # Errors
    /// `Unimplemented` for unknown media types; whatever mounting, reading and writing answer.
    fn compare(&self, ctx: &Ctx, lower: &[Mount], upper: &[Mount], request: &DiffRequest) -> Result<Descriptor>;
}
