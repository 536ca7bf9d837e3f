//! Snapshots: a tree of file systems, each an active or committed change on top of a committed parent.
//!
//! As with content, two seams: a [`LayerStore`] has directories with numbers and makes mounts of them; a [`Snapshotter`]
//! has names, parents, labels and namespaces, and is what services consume. So one transaction is enough for a
//! `prepare`, and the directories need no database of their own.

use serde::{Deserialize, Serialize};

use crate::{Ctx, Labels, Result, Timestamp};

/// The label on `prepare` that names the snapshot which the new one is to become; when that one is there already, the
/// answer is `AlreadyExists`, and the unpacker goes on to the next layer.
pub const LABEL_SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";

/// The state of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// Read only, and never to be committed.
    View,
    /// Writable.
    Active,
    /// Read only, and may be a parent.
    Committed,
}

impl std::fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SnapshotKind::View => "view",
            SnapshotKind::Active => "active",
            SnapshotKind::Committed => "committed",
        })
    }
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Active and view: the key; committed: the name.
    pub name: String,
    /// The parent's name; empty for none.
    pub parent: String,
    /// Its state.
    pub kind: SnapshotKind,
    /// Its labels.
    pub labels: Labels,
    /// When it was prepared or committed.
    pub created_at: Timestamp,
    /// When its labels were changed last.
    pub updated_at: Timestamp,
}

/// Disk usage, without the parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes in blocks, each inode once.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// A mount as containerd's API has it: what `mount -t TYPE -o OPTIONS SOURCE target` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File system type, or `bind`.
    pub kind: String,
    /// Device or directory.
    pub source: String,
    /// Where in the root, most often empty: the root itself.
    pub target: String,
    /// Options as in fstab.
    pub options: Vec<String>,
}

/// Named snapshots of a namespace.
pub trait Snapshotter: Send + Sync {
    /// What is known of one.
    ///
    /// # Errors
    /// `NotFound`.
    fn stat(&self, ctx: &Ctx, key: &str) -> Result<SnapshotInfo>;

    /// Changes labels (`labels`, `labels.x`; none: all that may be changed).
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for other fields.
    fn update(&self, ctx: &Ctx, info: &SnapshotInfo, fields: &[String]) -> Result<SnapshotInfo>;

    /// Disk usage: of a committed one as measured at commit, of others now.
    ///
    /// # Errors
    /// `NotFound`.
    fn usage(&self, ctx: &Ctx, key: &str) -> Result<Usage>;

    /// The mounts of an active snapshot or a view.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` for a committed one.
    fn mounts(&self, ctx: &Ctx, key: &str) -> Result<Vec<Mount>>;

    /// Makes a writable one on a committed parent (empty: on nothing).
    ///
    /// # Errors
    /// `AlreadyExists` for the key, or the snapshot that [`LABEL_SNAPSHOT_REF`] names; `NotFound` for the parent.
    fn prepare(&self, ctx: &Ctx, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>>;

    /// Makes a read-only one on a committed parent.
    ///
    /// # Errors
    /// As [`Snapshotter::prepare`].
    fn view(&self, ctx: &Ctx, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>>;

    /// Makes an active snapshot a committed one under a new name.
    ///
    /// # Errors
    /// `AlreadyExists` for the name; `NotFound` for the key; `FailedPrecondition` when it is not active.
    fn commit(&self, ctx: &Ctx, name: &str, key: &str, labels: &Labels) -> Result<()>;

    /// Removes one without children.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when it has children.
    fn remove(&self, ctx: &Ctx, key: &str) -> Result<()>;

    /// All that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse, or what the callback returns.
    fn walk(&self, ctx: &Ctx, filters: &[String], each: &mut dyn FnMut(SnapshotInfo) -> Result<()>) -> Result<()>;

    /// Removes directories that no snapshot has.
    ///
    /// # Errors
    /// `Io`.
    fn cleanup(&self, ctx: &Ctx) -> Result<()>;
}

/// One layer as the [`LayerStore`] needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct LayerRef<'a> {
    /// Its number, never used twice.
    pub id: u64,
    /// The numbers of its parents, the nearest first.
    pub parents: &'a [u64],
    /// Its state.
    pub kind: SnapshotKind,
}

/// Directories with numbers: what is below a [`Snapshotter`].
pub trait LayerStore: Send + Sync {
    /// The snapshotter's name in the API, like `overlayfs`.
    fn name(&self) -> &str;

    /// Makes the directories of an active snapshot or view. A leftover of the same number is replaced.
    ///
    /// # Errors
    /// `Io`; nothing is left then.
    fn create(&self, layer: LayerRef<'_>) -> Result<()>;

    /// How to mount it. Pure: no file is touched.
    ///
    /// # Errors
    /// `FailedPrecondition` for a committed one; `InvalidArgument` when there are more parents than can be mounted.
    fn mounts(&self, layer: LayerRef<'_>) -> Result<Vec<Mount>>;

    /// Disk usage of one layer.
    ///
    /// # Errors
    /// `Io`.
    fn usage(&self, id: u64) -> Result<Usage>;

    /// Removes the directories; fine when they are gone.
    ///
    /// # Errors
    /// `Io`, with the first path that would not go.
    fn remove(&self, id: u64) -> Result<()>;

    /// All numbers that have a directory.
    ///
    /// # Errors
    /// `Io`.
    fn list(&self) -> Result<Vec<u64>>;
}
