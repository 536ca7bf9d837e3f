//! Garbage collection by containerd's rules.
//!
//! Roots are images, containers, leases and what they hold, ingests that have not expired, and content and snapshots with
//! the label `containerd.io/gc.root`. From there references are followed: an image's target, a container's snapshot, a
//! snapshot's parent, and labels `containerd.io/gc.ref.*`. What is not reached goes.
//!
//! Marking is pure ([`graph`]); reading the graph and removing the rows are one transaction ([`sweep`]), so nothing can gain a
//! reference in between (a look without a lock comes first: mostly there is nothing to do). Directories and blobs are removed after it, outside of any lock on the database.

mod graph;
mod labels;
pub(crate) mod scheduler;
mod sweep;

pub(crate) use labels::LABEL_EXPIRE;
pub(crate) use sweep::{Plan, plan_and_delete, unreachable};

/// The kinds of things that refer to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A blob of a namespace.
    Content,
    /// A snapshot; its key is `snapshotter/name`.
    Snapshot,
    /// An image.
    Image,
    /// A container.
    Container,
    /// A lease.
    Lease,
    /// An ingest.
    Ingest,
}

/// Something that refers and is referred to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The namespace it is in.
    pub namespace: String,
    /// Its name there.
    pub key: String,
}

impl Node {
    pub(crate) fn new(kind: NodeKind, namespace: &str, key: impl Into<String>) -> Self {
        Node {
            kind,
            namespace: namespace.to_owned(),
            key: key.into(),
        }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Default)]
pub struct GcReport {
    /// What was taken out of the database, in order.
    pub removed: Vec<Node>,
    /// Blobs whose bytes are gone.
    pub blobs: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// How long the database was held up.
    pub pause: std::time::Duration,
    /// How long it took in all.
    pub elapsed: std::time::Duration,
}
