//! `docker load`: archives of `docker save` (docker-archive) and of the OCI layout.
//!
//! Every file of the archive goes straight into the content store under the scope's lease; only the small JSON files that
//! say what belongs together are kept in memory. When the archive has ended, the images are put together from what is
//! there, unpacked, and named last: an archive that is broken anywhere leaves nothing.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use containerd_rs_registry::document::{self, DOCKER_CONFIG, DOCKER_MANIFEST, DOCUMENT_LIMIT, Document};
use containerd_rs_registry::{Descriptor, MediaType, digest};
use oci_spec::image::ImageIndex;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ImageService;
use super::archive::{Kind, Piece, member_name, members, sibling};
use super::config::ImageDocument;
use super::fetch::child_labels;
use super::ingest;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::{Reference, canonical, is_digest};
use super::resolve::ranked;
use super::scope::{self, Scope};
use super::spool::Spool;
use super::store::{bad_document, dangling_name};
use crate::error::{Error, Result};

/// Most bytes of JSON files kept in memory.
const JSON_LIMIT: usize = 32 * 1024 * 1024;
/// Most links followed from one name.
const LINK_LIMIT: usize = 8;

/// A file that went into the store.
#[derive(Debug, Clone)]
struct Blob {
    digest: String,
    size: u64,
    /// Its first bytes, to know compressed layers by.
    magic: [u8; 4],
}

/// All that an archive had.
#[derive(Debug, Default)]
struct Contents {
    json: BTreeMap<String, Bytes>,
    blobs: HashMap<String, Blob>,
    links: HashMap<String, String>,
}

/// An image of the archive, ready but for its name.
struct Ready {
    target: Descriptor,
    names: Vec<Reference>,
}

impl ImageService {
    /// Loads all images of an archive, telling their names.
    ///
    /// # Errors
    /// What is wrong with the archive. Nothing is left of it then.
    pub async fn load(&self, body: Body, progress: Progress, cancel: CancellationToken) -> Result<()> {
        let service = self.clone();
        scope::within(self.store(), cancel, move |scope| async move {
            let contents = read_archive(&scope, body).await?;
            let images = service.assemble(&scope, &contents).await?;
            for image in images {
                service.announce(&image, &progress).await?;
            }
            Ok(())
        })
        .await
    }

    async fn assemble(&self, scope: &Scope, contents: &Contents) -> Result<Vec<Ready>> {
        let mut images = Vec::new();
        if let Some(index) = contents.json.get("index.json") {
            let index: ImageIndex = parse_json("index.json", index)?;
            for descriptor in index.manifests() {
                images.push(self.oci_image(scope, descriptor).await?);
            }
        } else if let Some(manifest) = contents.json.get("manifest.json") {
            let items: Vec<DockerItem> = parse_json("manifest.json", manifest)?;
            for item in &items {
                images.push(self.docker_image(scope, contents, item).await?);
            }
        } else {
            return Err(Error::internal("unrecognized image format"));
        }
        if images.is_empty() {
            return Err(Error::internal("archive holds no image"));
        }
        Ok(images)
    }

    /// An image of an OCI layout: its documents came with the archive or were here before.
    async fn oci_image(&self, scope: &Scope, descriptor: &Descriptor) -> Result<Ready> {
        digest::parse(descriptor.digest().as_ref()).map_err(bad_document)?;
        self.store_document(scope, descriptor).await?;
        let media_type = descriptor.media_type().as_ref();
        let manifest = if document::is_index(media_type) {
            self.oci_index(scope, descriptor).await?
        } else {
            Some(descriptor.clone())
        };
        if let Some(manifest) = manifest {
            self.finish(scope, &manifest).await?;
        }
        let target = Descriptor::new(
            MediaType::from(media_type),
            descriptor.size(),
            descriptor.digest().clone(),
        );
        Ok(Ready {
            target,
            names: oci_names(descriptor),
        })
    }

    /// Takes in those manifests of an index whose documents are here. Returns the one for this machine.
    async fn oci_index(&self, scope: &Scope, descriptor: &Descriptor) -> Result<Option<Descriptor>> {
        let Document::Index(index) = scope.store.document(descriptor).await? else {
            return Err(Error::failed(format!("index {}", descriptor.digest()), "is a manifest"));
        };
        for child in index.manifests() {
            digest::parse(child.digest().as_ref()).map_err(bad_document)?;
            let manifest = document::is_manifest(child.media_type().as_ref());
            if manifest && scope.store.info(child.digest().as_ref()).await?.is_some() {
                self.store_document(scope, child).await?;
            }
        }
        for chosen in ranked(index.manifests(), &Platform::host()) {
            if scope.store.info(chosen.digest().as_ref()).await?.is_some() {
                return Ok(Some(chosen));
            }
        }
        Ok(None)
    }

    /// Checks a document that is in the store, and labels it to keep its children.
    async fn store_document(&self, scope: &Scope, descriptor: &Descriptor) -> Result<()> {
        let digest = descriptor.digest().as_ref();
        if scope.store.info(digest).await?.is_none() {
            return Err(Error::internal(format!("content digest {digest}: not found")));
        }
        scope.store.keep(&scope.lease, "content", digest).await?;
        let parsed = scope.store.document(descriptor).await?;
        scope.store.set_labels(digest, child_labels(&parsed)).await
    }

    /// An image of `docker save`: the manifest is made here, of its config and layers.
    async fn docker_image(&self, scope: &Scope, contents: &Contents, item: &DockerItem) -> Result<Ready> {
        let config = contents.bytes(scope, &item.config).await?;
        let document = ImageDocument::parse(&item.config, &config)?;
        if document.rootfs.diff_ids.len() != item.layers.len() {
            let (want, have) = (document.rootfs.diff_ids.len(), item.layers.len());
            return Err(Error::internal(format!(
                "invalid manifest, layers length mismatch: expected {want}, got {have}"
            )));
        }
        let mut layers = Vec::new();
        for path in &item.layers {
            let blob = contents.blob(path)?;
            let media_type = layer_type(blob.magic);
            layers.push(json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size }));
        }
        let config_digest = digest::sha256(&config);
        let reference = format!("config-{config_digest}");
        scope.ingest_begins(&reference);
        ingest::put(&scope.store, &reference, &config_digest, &config, HashMap::new()).await?;
        scope.ingest_ends(&reference);
        scope.store.keep(&scope.lease, "content", &config_digest).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": { "mediaType": DOCKER_CONFIG, "digest": config_digest, "size": config.len() },
            "layers": layers,
        });
        let target = put_manifest(scope, DOCKER_MANIFEST, &manifest).await?;
        self.finish(scope, &target).await?;
        let names = item
            .repo_tags
            .iter()
            .flatten()
            .map(|tag| Ok(Reference::parse(tag)?.or_latest()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Ready { target, names })
    }

    /// Unpacks an image whose content is complete; one that is not complete is an error.
    async fn finish(&self, scope: &Scope, manifest: &Descriptor) -> Result<()> {
        let known = self.known_manifest(manifest).await?;
        for blob in known.layers.iter().chain([&known.config]) {
            let digest = blob.digest().as_ref();
            match scope.store.info(digest).await? {
                Some(info) if u64::try_from(info.size).is_ok_and(|size| size == blob.size()) => {
                    scope.store.keep(&scope.lease, "content", digest).await?;
                }
                Some(_) => {
                    return Err(Error::internal(format!(
                        "content digest {digest}: failed size validation"
                    )));
                }
                None => return Err(Error::internal(format!("content digest {digest}: not found"))),
            }
        }
        self.unpack_all(scope, &known).await
    }

    /// Names an image and says so.
    async fn announce(&self, image: &Ready, progress: &Progress) -> Result<()> {
        let id = image.target.digest().to_string();
        if image.names.is_empty() {
            let records = self.store().images().await?;
            if !records.iter().any(|r| r.id() == id) {
                self.store()
                    .put_image(&dangling_name(&id), &image.target, HashMap::new())
                    .await?;
            }
            progress.stream(format!("Loaded image ID: {id}\n")).await;
        }
        for name in &image.names {
            self.set_name(&canonical(name), &image.target).await?;
            progress.stream(format!("Loaded image: {}\n", name.familiar())).await;
        }
        self.event("load", &id, &id);
        Ok(())
    }
}

/// Stores a manifest that was made here, with labels that keep its children.
pub(crate) async fn put_manifest(scope: &Scope, media_type: &str, value: &serde_json::Value) -> Result<Descriptor> {
    let bytes = Bytes::from(value.to_string());
    let name = digest::sha256(&bytes);
    let parsed = document::parse(media_type, &name, &bytes).map_err(bad_document)?;
    let reference = format!("manifest-{name}");
    scope.ingest_begins(&reference);
    ingest::put(&scope.store, &reference, &name, &bytes, child_labels(&parsed)).await?;
    scope.ingest_ends(&reference);
    scope.store.keep(&scope.lease, "content", &name).await?;
    let size = bytes.len() as u64;
    Ok(Descriptor::new(
        MediaType::from(media_type),
        size,
        digest::parse(&name).map_err(bad_document)?,
    ))
}

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

fn parse_json<T: serde::de::DeserializeOwned>(name: &str, bytes: &Bytes) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::failed(format!("invalid {name}"), e))
}

/// The name that an index gives an image: containerd's annotation, or OCI's when it is more than a tag.
fn oci_names(descriptor: &Descriptor) -> Vec<Reference> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|a| a.get(key)).cloned();
    let full = annotation("io.containerd.image.name");
    let name = full.or_else(|| annotation("org.opencontainers.image.ref.name").filter(|n| n.contains(['/', ':'])));
    name.and_then(|n| Reference::parse(&n).ok())
        .map(Reference::or_latest)
        .into_iter()
        .collect()
}

fn layer_type(magic: [u8; 4]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.docker.image.rootfs.diff.tar",
    }
}

impl Contents {
    /// The file a name of `manifest.json` means, through links.
    fn find<'a>(&'a self, name: &'a str) -> Result<String> {
        let mut name = member_name(name)?;
        for _ in 0..LINK_LIMIT {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => return Ok(name),
            }
        }
        Err(Error::internal(format!(
            "invalid archive member {name:?}: too many links"
        )))
    }

    fn blob(&self, name: &str) -> Result<&Blob> {
        let found = self.find(name)?;
        self.blobs
            .get(&found)
            .ok_or_else(|| Error::internal(format!("invalid archive: {name:?}: no such file")))
    }

    /// The bytes of a small file, kept in memory or in the store.
    async fn bytes(&self, scope: &Scope, name: &str) -> Result<Bytes> {
        let found = self.find(name)?;
        if let Some(bytes) = self.json.get(&found) {
            return Ok(bytes.clone());
        }
        scope.store.read(&self.blob(name)?.digest, DOCUMENT_LIMIT).await
    }
}

/// Whether a member is one of the files that say what belongs together.
fn is_json(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == "json") || name == "oci-layout" || name == "repositories"
}

async fn read_archive(scope: &Scope, body: Body) -> Result<Contents> {
    let mut pieces = members(body);
    let mut contents = Contents::default();
    let mut open = Open::Nothing;
    let mut kept = 0usize;
    loop {
        match pieces.next().await? {
            Some(Piece::Begin(member)) => {
                open.close(&mut contents).await?;
                let name = member_name(&member.name)?;
                open = match member.kind {
                    Kind::File if is_json(&name) => {
                        kept = kept.saturating_add(usize::try_from(member.size).unwrap_or(usize::MAX));
                        if member.size > DOCUMENT_LIMIT || kept > JSON_LIMIT {
                            return Err(Error::internal(format!("invalid archive member {name:?}: too large")));
                        }
                        Open::Json(name, BytesMut::new())
                    }
                    Kind::File => Open::Blob(
                        Box::new(Spool::open(scope, member.size, digest_of_path(&name)).await?),
                        name,
                    ),
                    Kind::Symlink(target) => {
                        contents.links.insert(name.clone(), sibling(&name, &target)?);
                        Open::Nothing
                    }
                    Kind::Hardlink(target) => {
                        contents.links.insert(name, member_name(&target)?);
                        Open::Nothing
                    }
                    Kind::Other => Open::Nothing,
                };
            }
            Some(Piece::Data(data)) => match &mut open {
                Open::Nothing => {}
                Open::Json(_, bytes) => bytes.extend_from_slice(&data),
                Open::Blob(spool, _) => spool.write(&data).await?,
            },
            None => {
                open.close(&mut contents).await?;
                return Ok(contents);
            }
        }
    }
}

/// `blobs/sha256/HEX` names its own digest.
fn digest_of_path(name: &str) -> Option<String> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    let text = format!("{algorithm}:{hex}");
    is_digest(&text).then_some(text)
}

/// The member whose data is being read.
enum Open {
    Nothing,
    Json(String, BytesMut),
    Blob(Box<Spool>, String),
}

impl Open {
    async fn close(&mut self, contents: &mut Contents) -> Result<()> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => {}
            Self::Json(name, bytes) => {
                contents.json.insert(name, bytes.freeze());
            }
            Self::Blob(spool, name) => {
                let (size, magic) = (spool.size(), spool.magic());
                let digest = spool.finish(HashMap::new()).await?;
                contents.blobs.insert(name, Blob { digest, size, magic });
            }
        }
        Ok(())
    }
}
