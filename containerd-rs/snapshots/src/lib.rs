//! The overlayfs snapshotter, and the application of image layers confined to their root.
