//! The overlayfs snapshotter, and the application of image layers confined to their root.
//!
//! Three parts that need one another's knowledge of overlayfs:
//!
//! * [`OverlayStore`] keeps numbered directories in containerd's layout, and says how to mount them.
//! * [`LayerApplier`] unpacks a layer. The design decision: **one pass, no mount, no path.** While one thread reads, hashes and
//!   decompresses, another hashes the plain tar and writes the files straight into the upper directory. Every entry is
//!   reached through a descriptor of its parent, which the kernel resolved beneath the root (`openat2` with
//!   `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`), so neither `..` nor links, however they change meanwhile, lead out.
//! * [`LayerComparer`] writes the upper directory down as a layer.
//!
//! Archives are read and written by this crate (`tar`): layers are hostile, and what the formats allow (sizes in two
//! places, names in three, links to anywhere) is decided here once, in the open.

mod apply;
mod diff;
mod mounts;
mod overlay;
mod sys;
mod tar;
mod tree;
mod usage;

pub use apply::{LayerApplier, Unpacked, unpack_stream};
pub use diff::LayerComparer;
pub use overlay::OverlayStore;
