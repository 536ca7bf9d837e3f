//! Applying layers.

mod create;
mod name;
mod pump;
mod root;
mod unpack;
mod whiteout;

use std::io::Read;
use std::sync::Arc;

use containerd_rs_core::{Applier, BlobStream, ContentProvider, Ctx, Descriptor, Digest, Error, Labels, Mount, Result};

use crate::mounts::{self, Dirs};
use pump::Feed;
use root::Root;
use unpack::{Marks, Unpacker};

/// The media type of a plain layer, which the answer has.
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Applies layers of a content store.
pub struct LayerApplier {
    content: Arc<dyn ContentProvider>,
}

impl LayerApplier {
    /// Layers come from this store.
    #[must_use]
    pub fn new(content: Arc<dyn ContentProvider>) -> Self {
        LayerApplier { content }
    }
}

/// What came out of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the bytes as they came.
    pub digest: Digest,
    /// Number of the bytes as they came.
    pub size: u64,
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// Number of bytes of the plain tar.
    pub plain_size: u64,
}

/// Whether a media type is a layer's. How it is compressed, its first bytes tell: there are layers whose type lies.
fn is_layer(media_type: &str) -> bool {
    let base = media_type.split(';').next().unwrap_or(media_type).trim();
    let base = base
        .strip_suffix("+gzip")
        .or_else(|| base.strip_suffix("+zstd"))
        .unwrap_or(base);
    matches!(
        base,
        PLAIN
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )
}

impl Applier for LayerApplier {
    fn apply(&self, ctx: &Ctx, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor> {
        if !is_layer(&layer.media_type) {
            return Err(Error::Unimplemented(format!(
                "unsupported diff media type: {}",
                layer.media_type
            )));
        }
        let reader = self.content.reader(ctx, &layer.digest)?;
        if layer.size > 0 && layer.size != reader.size() {
            let (told, there) = (layer.size, reader.size());
            let text = format!("layer {} has {there} bytes, and not {told}", layer.digest);
            return Err(Error::FailedPrecondition(text));
        }
        let done = unpack_stream(BlobStream::new(reader), mounts)?;
        // Others than SHA-256 were verified when they came in.
        if layer.digest.algorithm() == "sha256" && layer.digest != done.digest {
            return Err(Error::DataLoss(format!(
                "layer {} reads as {}",
                layer.digest, done.digest
            )));
        }
        Ok(Descriptor {
            media_type: PLAIN.into(),
            digest: done.diff_id,
            size: done.plain_size,
            annotations: Labels::new(),
        })
    }
}

/// Unpacks a layer, plain or compressed with gzip or zstd, into the directory that gets the mounts' changes, in one pass
/// over the stream. Nothing is mounted. On an error the directory has a part of the layer; drop the snapshot then.
///
/// # Errors
/// `InvalidArgument` for broken archives and entries that lead out of the root; `Unimplemented` for mounts without one
/// directory that gets the changes; `Io`.
pub fn unpack_stream(source: impl Read + Send, mounts: &[Mount]) -> Result<Unpacked> {
    let (dir, lower, marks) = match mounts::dirs(mounts)? {
        Dirs::Plain { dir, writable: true } => (dir, Vec::new(), Marks::Remove),
        Dirs::Overlay {
            upper: Some(upper),
            lower,
            userxattr,
        } => {
            let namespace = if userxattr { "user" } else { "trusted" };
            (
                upper,
                lower,
                Marks::Overlay {
                    opaque: format!("{namespace}.overlay.opaque"),
                },
            )
        }
        Dirs::Plain { dir, .. } => {
            return Err(Error::FailedPrecondition(format!(
                "layer on a read-only mount of {}",
                dir.display()
            )));
        }
        Dirs::Overlay { .. } => {
            return Err(Error::FailedPrecondition(
                "layer on an overlay without an upper directory".into(),
            ));
        }
    };
    let root = Root::open(&dir)?;
    let lower = lower.iter().map(|dir| Root::open(dir)).collect::<Result<Vec<_>>>()?;
    pump::run(source, |feed: Feed| {
        let mut unpacker = Unpacker::new(root, lower, marks);
        unpacker.run(feed)
    })
}

#[cfg(test)]
mod tests {
    use super::is_layer;

    #[test]
    fn media_types_of_layers() {
        for good in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            assert!(is_layer(good), "{good}");
        }
        assert!(!is_layer("application/vnd.oci.image.config.v1+json") && !is_layer(""));
    }
}
