//! The image service: what images there are, and how they come and go.
//!
//! Images are kept as containerd's own clients keep them, so that any of them understands what we have made: documents
//! and layers in the content store, tied together by `containerd.io/gc.ref.*` labels; one image record for each name;
//! unpacked layers as snapshots named by chain id. There is no image database of ours. An image's id is therefore the
//! digest of what its name points to, an index or a manifest, as in Docker with the containerd image store; an image
//! that loses its last name while something needs it is kept under `moby-dangling@DIGEST`.
//!
//! - [`mod@reference`], [`config`], [`platform`]: pure: names, config documents, platforms
//! - `store`, `ingest`, `scope`, `locks`: the layer below, and how to leave nothing behind there
//! - `resolve`: a name or an id to an image, and an image to what containers need of it
//! - `fetch`, `unpack`, [`pull`]: from a registry
//! - `archive`, `spool`, `load`, [`import`], [`changes`]: from archives; [`save`]: to one
//! - [`list`], `inspect`, `tag`, [`remove`], [`filters`]: what there is, by which names
//! - [`progress`]: the lines that clients draw

mod archive;
pub mod changes;
pub mod config;
mod fetch;
pub mod filters;
pub mod import;
mod ingest;
mod inspect;
pub mod list;
mod load;
mod locks;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod reference;
pub mod remove;
mod resolve;
pub mod save;
mod scope;
mod spool;
mod store;
mod tag;
mod unpack;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use containerd_rs_registry::Registry;

pub use config::ImageConfig;
pub use filters::Filters as ImageFilters;
pub use list::ListOptions as ImageListOptions;
pub use platform::Platform;
pub use reference::Reference;
pub use resolve::ResolvedImage;

use crate::error::{Error, Result};
use crate::l3::L3;

/// Hears of what happens to images: the event stream of the daemon.
pub trait ImageEvents: Send + Sync {
    /// `action` (`pull`, `tag`, `untag`, `delete`, `load`, `import`, ...) happened to the image `id`, known as `name`.
    fn image_event(&self, action: &str, id: &str, name: &str);
}

/// A container, as far as images care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub container: String,
    /// The id of its image.
    pub image: String,
    /// Whether it runs.
    pub running: bool,
}

/// The image service. Cheap to clone.
#[derive(Clone)]
pub struct ImageService {
    inner: Arc<Inner>,
}

struct Inner {
    store: store::Store,
    registry: Registry,
    events: Arc<dyn ImageEvents>,
    /// Turns on blobs and chain ids.
    locks: locks::Locks,
    /// Parsed images, by the digest of their manifest, or of their index and the platform.
    known: Mutex<HashMap<String, Arc<resolve::Known>>>,
    /// Disk usage of committed snapshots, by chain id.
    usage: Mutex<HashMap<String, u64>>,
    /// Asks the engine who uses images.
    users: OnceLock<Box<dyn Fn() -> Vec<ImageUser> + Send + Sync>>,
}

impl std::fmt::Debug for ImageService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageService")
            .field("registry", &self.inner.registry)
            .finish_non_exhaustive()
    }
}

impl ImageService {
    /// A service over the layer below, that pulls by `registry` and tells `events` what happens.
    pub fn new(l3: L3, registry: Registry, events: Arc<dyn ImageEvents>) -> Self {
        let store = store::Store::new(l3);
        let inner = Inner {
            store,
            registry,
            events,
            locks: locks::Locks::default(),
            known: Mutex::default(),
            usage: Mutex::default(),
            users: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Says how to ask which containers use which images. Once, at start; without it, nobody does.
    pub fn set_users(&self, users: impl Fn() -> Vec<ImageUser> + Send + Sync + 'static) {
        if self.inner.users.set(Box::new(users)).is_err() {
            tracing::warn!("the users of images are known already");
        }
    }

    /// Clears away, after a while, what a daemon before this one was interrupted in. Once, at start.
    ///
    /// # Errors
    /// When the layer below does not answer.
    pub async fn sweep_later(&self) -> Result<()> {
        scope::sweep_later(self.store()).await
    }

    fn users(&self) -> Vec<ImageUser> {
        self.inner.users.get().map_or_else(Vec::new, |users| users())
    }

    pub(crate) fn store(&self) -> &store::Store {
        &self.inner.store
    }

    fn event(&self, action: &str, id: &str, name: &str) {
        self.inner.events.image_event(action, id, name);
    }
}

/// Docker's words for an image that is not there.
pub(crate) fn no_such_image(name: &str) -> Error {
    Error::not_found(format!("No such image: {name}"))
}
