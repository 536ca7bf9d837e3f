//! A content-addressed blob store in a directory, with resumable and verified ingest.
//!
//! The directory has containerd's layout, so that either program can take over the other's:
//!
//! ```text
//! blobs/sha256/<hex>            the blobs, read only
//! ingest/<hash of the ref>/     one per ingest: data, ref, startedat, updatedat, total
//! ```
//!
//! The design decision: **a blob is never anything but whole.** Bytes are hashed as they arrive, in the open writer; a commit
//! compares size and digest, syncs the data and renames it into place. So there is no half blob after a crash or on a
//! full disk, only an ingest that can be resumed (its bytes are hashed anew then) or aborted. The directories are not
//! synced: a rename that a power cut undoes leaves the ingest, and a metadata record that outlives its blob is found by
//! whoever opens it; what may not happen, a blob with wrong bytes under a right name, cannot.
//!
//! Namespaces and labels are not here: they belong to the metadata store, which wraps this one.

mod hash;
mod ingest;
mod locks;
mod store;
mod sys;
mod writer;

pub use store::LocalStore;
