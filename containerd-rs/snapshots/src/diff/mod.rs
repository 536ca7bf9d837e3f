//! Making layers: the changes of an upper directory, or the difference of two trees, written down as an archive.

mod changes;
mod compress;
mod mounted;
mod upper;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_rs_core::{
    Comparer, ContentStore, Ctx, Descriptor, DiffRequest, Error, LABEL_UNCOMPRESSED, Labels, Mount, Result, Timestamp,
    WriterRequest,
};

use crate::mounts::{self, Dirs};
use changes::Change;
use compress::{Compression, LayerSink};

/// Makes layers into a content store.
pub struct LayerComparer {
    content: Arc<dyn ContentStore>,
    next: AtomicU64,
}

impl LayerComparer {
    /// Layers go to this store.
    #[must_use]
    pub fn new(content: Arc<dyn ContentStore>) -> Self {
        LayerComparer {
            content,
            next: AtomicU64::new(0),
        }
    }

    fn reference(&self, request: &DiffRequest) -> String {
        if !request.reference.is_empty() {
            return request.reference.clone();
        }
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("uploaddiff-{}-{n}", Timestamp::now().as_nanos())
    }
}

/// The kind of compression that a media type asks for.
fn compression(media_type: &str) -> Result<(String, Compression)> {
    let kind = match media_type {
        "" => return Ok(("application/vnd.oci.image.layer.v1.tar+gzip".into(), Compression::Gzip)),
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => Compression::None,
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Compression::Gzip
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            Compression::Zstd
        }
        other => return Err(Error::Unimplemented(format!("unsupported diff media type: {other}"))),
    };
    Ok((media_type.to_owned(), kind))
}

/// Whether the upper mounts' changes are in one directory, and the lower mounts are exactly what is below it.
fn upper_only(lower: Option<&Dirs>, upper: &Dirs) -> Option<(std::path::PathBuf, bool)> {
    match (lower, upper) {
        (None, Dirs::Plain { dir, .. }) => Some((dir.clone(), false)),
        (
            Some(lower),
            Dirs::Overlay {
                upper: Some(dir),
                lower: below,
                userxattr,
            },
        ) => {
            let same = match lower {
                Dirs::Plain { dir, .. } => [dir.clone()][..] == below[..],
                Dirs::Overlay { upper: None, lower, .. } => lower == below,
                Dirs::Overlay { .. } => false,
            };
            same.then(|| (dir.clone(), *userxattr))
        }
        _ => None,
    }
}

/// All changes, and the directory where the changed files are.
fn changes(lower: &[Mount], upper: &[Mount]) -> Result<(Vec<Change>, std::os::fd::OwnedFd)> {
    let below = if lower.is_empty() {
        None
    } else {
        Some(mounts::dirs(lower)?)
    };
    let above = mounts::dirs(upper)?;
    if let Some((dir, userxattr)) = upper_only(below.as_ref(), &above) {
        let root = mounted::directory(&dir)?;
        let marks = matches!(above, Dirs::Overlay { .. }).then_some(userxattr);
        // A directory that overlayfs moved shows its files elsewhere: then only looking from above tells the truth.
        if let Some(changes) = upper::changes(&root, marks)? {
            return Ok((changes, root));
        }
    }
    let upper = mounted::open(upper)?;
    let lower = if lower.is_empty() {
        None
    } else {
        Some(mounted::open(lower)?)
    };
    Ok((changes::between(lower.as_ref(), &upper)?, upper))
}

impl Comparer for LayerComparer {
    fn compare(&self, ctx: &Ctx, lower: &[Mount], upper: &[Mount], request: &DiffRequest) -> Result<Descriptor> {
        let (media_type, compression) = compression(&request.media_type)?;
        let (changes, root) = changes(lower, upper)?;
        let reference = self.reference(request);
        let opening = WriterRequest {
            reference: reference.clone(),
            ..WriterRequest::default()
        };
        let mut writer = self.content.writer(ctx, &opening)?;
        writer.truncate(0)?;
        let written = LayerSink::new(writer, compression).and_then(|sink| {
            let sink = write::layer(&root, &changes, request.source_date_epoch, sink)?;
            let (mut labels, diff_id) = (request.labels.clone(), sink.diff_id());
            labels.insert(LABEL_UNCOMPRESSED.into(), diff_id.to_string());
            let (writer, size) = sink.finish()?;
            let digest = writer.digest()?;
            match writer.commit(size, None, &labels) {
                Err(error) if error.is_already_exists() => self.label(ctx, &digest, labels)?,
                other => {
                    other?;
                }
            }
            Ok(Descriptor {
                media_type,
                digest,
                size,
                annotations: Labels::new(),
            })
        });
        if written.is_err() {
            match self.content.abort(ctx, &reference) {
                Err(error) if !error.is_not_found() => tracing::warn!(%error, reference, "an ingest stays"),
                _ => {}
            }
        }
        written
    }
}

impl LayerComparer {
    /// The blob was there already: it gets the labels all the same.
    fn label(&self, ctx: &Ctx, digest: &containerd_rs_core::Digest, labels: Labels) -> Result<()> {
        let mut info = self.content.info(ctx, digest)?;
        let fields: Vec<_> = labels.keys().map(|key| format!("labels.{key}")).collect();
        info.labels = labels;
        self.content.update(ctx, &info, &fields).map(|_| ())
    }
}
