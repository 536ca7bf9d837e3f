//! Names and ids to images, and images to what containers need of them.

use std::sync::{Arc, PoisonError};

use containerd_rs_registry::Descriptor;
use containerd_rs_registry::document::{self, Document};
use tokio_util::sync::CancellationToken;

use super::config::{ImageConfig, ImageDocument};
use super::platform::{Platform, of_index};
use super::reference::{Reference, canonical, is_digest};
use super::store::{Record, Store, bad_document};
use super::{ImageService, no_such_image, scope, unpack};
use crate::error::{Error, Result};

/// Most images whose parsed form is kept.
const KNOWN_LIMIT: usize = 512;

/// An image as a container needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// The id that clients see, `sha256:...`: the digest of the index or manifest that the name points to.
    pub id: String,
    /// The short name it was found by, `debian:latest`; the id when it was found by that.
    pub reference: String,
    /// The name of the image record in the layer below.
    pub name: String,
    /// The digest of the manifest for this machine.
    pub manifest: String,
    /// The digest of its config.
    pub config_digest: String,
    /// Key of the committed snapshot of its last layer: the parent of a container's snapshot. Empty for an image without layers.
    pub chain_id: String,
    /// The snapshotter that holds it.
    pub snapshotter: String,
    /// What containers inherit.
    pub config: ImageConfig,
    /// `linux/amd64` and the like.
    pub platform: String,
}

/// One platform's image, parsed.
#[derive(Debug)]
pub(crate) struct Known {
    /// The manifest's descriptor.
    pub(crate) manifest: Descriptor,
    /// The config's descriptor.
    pub(crate) config: Descriptor,
    /// The layers' descriptors, from the bottom up.
    pub(crate) layers: Vec<Descriptor>,
    /// The config.
    pub(crate) document: ImageDocument,
}

impl Known {
    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.document.os, &self.document.architecture, &self.document.variant)
    }

    /// Bytes of manifest, config and layers together.
    pub(crate) fn content_size(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(Descriptor::size).sum();
        self.manifest
            .size()
            .saturating_add(self.config.size())
            .saturating_add(layers)
    }
}

/// What a user's text can mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A whole digest.
    Id(String),
    /// A name, and perhaps the beginning of an id.
    Name {
        /// As a name.
        reference: Reference,
        /// As the beginning of an id, without `sha256:`.
        prefix: Option<String>,
    },
    /// Only the beginning of an id.
    Prefix(String),
}

/// Reads a user's text.
///
/// # Errors
/// 400 for what is neither a name nor an id.
pub(crate) fn wanted(text: &str) -> Result<Wanted> {
    if is_digest(text) {
        return Ok(Wanted::Id(text.to_owned()));
    }
    if runtime_spec::reference::is_id(text) {
        return Ok(Wanted::Id(format!("sha256:{text}")));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let like_id =
        !hex.is_empty() && hex.len() < 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let prefix = like_id.then(|| hex.to_owned());
    match (Reference::parse(text), prefix) {
        (Ok(reference), prefix) => Ok(Wanted::Name { reference, prefix }),
        (Err(_), Some(prefix)) => Ok(Wanted::Prefix(prefix)),
        (Err(error), None) => Err(error.into()),
    }
}

impl ImageService {
    /// The image of this reference, id or id prefix, with its layers unpacked.
    ///
    /// # Errors
    /// 404 `No such image: x:latest`; 400 for a malformed name.
    pub async fn resolve(&self, name_or_id: &str) -> Result<ResolvedImage> {
        let record = self.find(name_or_id).await?;
        let known = self.known(&record.target, &Platform::host()).await?;
        self.ensure_unpacked(&known).await?;
        let by_id = record.is_dangling() || matches_id(record.id(), name_or_id);
        let reference = if by_id {
            record.id().to_owned()
        } else {
            familiar(&record.name)
        };
        Ok(ResolvedImage {
            id: record.id().to_owned(),
            reference,
            name: record.name.clone(),
            manifest: known.manifest.digest().to_string(),
            config_digest: known.config.digest().to_string(),
            chain_id: known.document.chain_id(),
            snapshotter: self.store().l3.snapshotter().to_owned(),
            config: known.document.config.clone(),
            platform: known.platform().to_string(),
        })
    }

    /// The image record that a user's text means.
    pub(crate) async fn find(&self, text: &str) -> Result<Record> {
        let store = self.store();
        match wanted(text)? {
            Wanted::Id(digest) => {
                let of = |r: &Record| r.id() == digest;
                best(store.images().await?, of).ok_or_else(|| no_such_image(&digest))
            }
            Wanted::Prefix(prefix) => by_prefix(store, &prefix, text).await,
            Wanted::Name { reference, prefix } => {
                let full = reference.clone().or_latest();
                let shown = full.familiar();
                if let Some(digest) = reference.digest() {
                    let repository = reference.name();
                    let of =
                        |r: &Record| r.id() == digest.as_str() && repository_of(&r.name) == Some(repository.clone());
                    return best(store.images().await?, of).ok_or_else(|| no_such_image(&shown));
                }
                if let Some(record) = store.image(&canonical(&full)).await? {
                    return Ok(record);
                }
                match prefix {
                    Some(prefix) => by_prefix(store, &prefix, &shown).await,
                    None => Err(no_such_image(&shown)),
                }
            }
        }
    }

    /// The parsed image of `target` that runs best on `platform`.
    ///
    /// # Errors
    /// 404 when none does, or its documents are not in the store.
    pub(crate) async fn known(&self, target: &Descriptor, platform: &Platform) -> Result<Arc<Known>> {
        if !document::is_index(target.media_type().as_ref()) {
            return self.known_manifest(target).await;
        }
        let key = format!("{} {platform}", target.digest());
        if let Some(known) = self.remembered(&key) {
            return Ok(known);
        }
        let Document::Index(index) = self.store().document(target).await? else {
            return Err(Error::failed(format!("index {}", target.digest()), "is a manifest"));
        };
        for candidate in ranked(index.manifests(), platform) {
            if self.store().info(candidate.digest().as_ref()).await?.is_some() {
                let known = self.known_manifest(&candidate).await?;
                self.remember(key, &known);
                return Ok(known);
            }
        }
        Err(no_platform(target, platform))
    }

    /// The parsed image of one manifest.
    pub(crate) async fn known_manifest(&self, manifest: &Descriptor) -> Result<Arc<Known>> {
        let digest = manifest.digest().to_string();
        if let Some(known) = self.remembered(&digest) {
            return Ok(known);
        }
        let known = Arc::new(read_known(self.store(), manifest).await?);
        self.remember(digest, &known);
        Ok(known)
    }

    fn remembered(&self, key: &str) -> Option<Arc<Known>> {
        self.inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    fn remember(&self, key: String, known: &Arc<Known>) {
        let mut cache = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= KNOWN_LIMIT {
            cache.clear();
        }
        cache.insert(key, known.clone());
    }

    /// Forgets parsed images: something was removed, and what is not here is not to be known.
    pub(crate) fn forget(&self) {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Unpacks what another client has brought but not unpacked.
    async fn ensure_unpacked(&self, known: &Arc<Known>) -> Result<()> {
        let chain_id = known.document.chain_id();
        if chain_id.is_empty() || self.store().has_snapshot(&chain_id).await? {
            return Ok(());
        }
        let (service, known) = (self.clone(), known.clone());
        scope::within(self.store(), CancellationToken::new(), move |scope| async move {
            service.unpack_all(&scope, &known).await
        })
        .await
    }

    /// Unpacks all layers, and ties the last snapshot to the config.
    pub(crate) async fn unpack_all(&self, scope: &scope::Scope, known: &Known) -> Result<()> {
        for layer in unpack::layers(&known.layers, &known.document.rootfs.diff_ids)? {
            unpack::unpack(scope, &self.inner.locks, &layer, None).await?;
        }
        self.tie_snapshot(scope, known).await
    }

    /// Labels the config so that the collector keeps the snapshot as long as the image.
    pub(crate) async fn tie_snapshot(&self, scope: &scope::Scope, known: &Known) -> Result<()> {
        let chain_id = known.document.chain_id();
        if chain_id.is_empty() {
            return Ok(());
        }
        let key = format!("containerd.io/gc.ref.snapshot.{}", scope.store.l3.snapshotter());
        scope
            .store
            .set_labels(known.config.digest().as_ref(), [(key, chain_id)].into())
            .await
    }
}

async fn read_known(store: &Store, manifest: &Descriptor) -> Result<Known> {
    let Document::Manifest(parsed) = store.document(manifest).await? else {
        return Err(Error::failed(format!("manifest {}", manifest.digest()), "is an index"));
    };
    let config = parsed.config().clone();
    containerd_rs_registry::digest::parse(config.digest().as_ref()).map_err(bad_document)?;
    let bytes = store.read(config.digest().as_ref(), document::DOCUMENT_LIMIT).await?;
    let document = ImageDocument::parse(config.digest().as_ref(), &bytes)?;
    Ok(Known {
        manifest: manifest.clone(),
        config,
        layers: parsed.layers().clone(),
        document,
    })
}

/// The manifests of an index that run on `platform`, best first. One without a platform may be anything: it comes last.
pub(crate) fn ranked(manifests: &[Descriptor], platform: &Platform) -> Vec<Descriptor> {
    let mut ranked: Vec<(usize, &Descriptor)> = manifests
        .iter()
        .filter(|d| document::is_manifest(d.media_type().as_ref()))
        .filter_map(|d| {
            let rank = match d.platform() {
                None => Some(usize::MAX),
                Some(theirs) => platform.rank(&of_index(theirs)),
            };
            rank.map(|rank| (rank, d))
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, d)| d.clone()).collect()
}

/// Docker's words for an index without an image for us.
pub(crate) fn no_platform(target: &Descriptor, platform: &Platform) -> Error {
    let text = "in the manifest list entries: no match for platform in manifest";
    Error::not_found(format!(
        "no matching manifest for {platform} {text} {}: not found",
        target.digest()
    ))
}

async fn by_prefix(store: &Store, prefix: &str, shown: &str) -> Result<Record> {
    let of = |r: &Record| r.id().split_once(':').is_some_and(|(_, hex)| hex.starts_with(prefix));
    let mut found: Vec<Record> = store.images().await?.into_iter().filter(of).collect();
    let first = found
        .first()
        .map(|r| r.id().to_owned())
        .ok_or_else(|| no_such_image(shown))?;
    if found.iter().any(|r| r.id() != first) {
        return Err(Error::not_found("ambiguous reference"));
    }
    found.sort_by_key(Record::is_dangling);
    Ok(found.swap_remove(0))
}

/// The first match that has a name, else any.
fn best(records: Vec<Record>, of: impl Fn(&Record) -> bool) -> Option<Record> {
    let mut found: Vec<Record> = records.into_iter().filter(|r| of(r)).collect();
    found.sort_by_key(Record::is_dangling);
    (!found.is_empty()).then(|| found.swap_remove(0))
}

/// Whether a user's text is the id or the beginning of it.
pub(crate) fn matches_id(id: &str, text: &str) -> bool {
    id.starts_with(text) || id.split_once(':').is_some_and(|(_, hex)| hex.starts_with(text))
}

/// The repository part of a record's name; nothing for names that are not references.
pub(crate) fn repository_of(name: &str) -> Option<String> {
    Reference::parse(name).ok().map(|r| r.name())
}

/// The short form of a record's name, or the name itself when it is no reference.
pub(crate) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |r| r.familiar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_prefixes_and_names_are_told_apart() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(wanted(&hex).unwrap(), Wanted::Id(format!("sha256:{hex}")));
        assert_eq!(
            wanted(&format!("sha256:{hex}")).unwrap(),
            Wanted::Id(format!("sha256:{hex}"))
        );
        assert!(matches!(wanted("abc").unwrap(), Wanted::Name { prefix: Some(p), .. } if p == "abc"));
        assert!(matches!(wanted("sha256:abc").unwrap(), Wanted::Name { prefix: Some(p), .. } if p == "abc"));
        assert!(matches!(wanted("debian").unwrap(), Wanted::Name { prefix: None, .. }));
        assert!(wanted("Debian").is_err());
    }
}
