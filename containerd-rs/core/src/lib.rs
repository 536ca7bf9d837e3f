//! The seams of the lifecycle manager: domain types and the traits that its parts meet at.
//!
//! Nothing here does anything. The stores (`content`, `snapshots`, `metadata`) implement these traits and do not know one
//! another; the services consume them, each the narrowest that will do.
//!
//! Three decisions:
//!
//! * **Synchronous.** What is behind these traits is files, system calls and an embedded database: blocking work. Whoever
//!   serves them from an async program calls them on a blocking thread, which is the one place where that choice belongs.
//! * **The namespace is an argument.** Every call on a namespaced thing gets a [`Ctx`]; nothing is hidden in a
//!   thread-local or task-local, so nothing can be forgotten.
//! * **Bytes and names are apart.** [`BlobStore`] and [`LayerStore`] keep bytes and know no names; [`ContentStore`] and
//!   [`Snapshotter`] add namespaces, labels and parents from the one metadata store. A blob store on another medium, or
//!   another kind of snapshot, is then a small thing.
//!
//! Errors have containerd's kinds and words ([`Error`]); filters are containerd's language ([`filter`]).

mod content;
mod diff;
mod digest;
mod error;
pub mod fields;
pub mod filter;
mod snapshot;
mod stores;
mod time;
mod types;

pub use content::{
    BlobReader, BlobStore, BlobStream, ContentInfo, ContentManager, ContentProvider, ContentStore, ContentWriter,
    IngestStatus, Ingester, WriterRequest,
};
pub use diff::{Applier, Comparer, DiffRequest, LABEL_UNCOMPRESSED};
pub use digest::Digest;
pub use error::{Error, Kind, Result};
pub use snapshot::{LABEL_SNAPSHOT_REF, LayerRef, LayerStore, Mount, SnapshotInfo, SnapshotKind, Snapshotter, Usage};
pub use stores::{ContainerStore, EventPublisher, ImageStore, LeaseStore, NamespaceStore, SandboxStore};
pub use time::Timestamp;
pub use types::{
    Any, Container, Ctx, Descriptor, Envelope, Image, Labels, Lease, Namespace, Resource, Runtime, Sandbox,
    validate_identifier, validate_labels,
};
