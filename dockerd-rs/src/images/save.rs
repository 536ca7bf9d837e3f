//! `docker save`: images as a tar that is an OCI layout and, by its `manifest.json`, the older docker-archive too.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use containerd_proto::containerd::services::content::v1::ReadContentRequest;
use containerd_rs_registry::Descriptor;
use containerd_rs_registry::document::{self, Document};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reference::{Reference, canonical};
use super::resolve::{familiar, matches_id};
use super::scope::{self, Scope};
use super::store::Record;
use super::{ImageService, no_such_image};
use crate::error::{Error, Result};

/// The unit of tar.
const BLOCK: u64 = 512;

/// An image on its way out, and the names it is saved by.
struct Wanted {
    record: Record,
    names: Vec<Reference>,
}

/// The bytes of the archive as they come. Dropping the receiver ends the work.
pub type Archive = mpsc::Receiver<std::io::Result<Bytes>>;

impl ImageService {
    /// Begins to save images: by name with their names, by a repository with all its tags, by id without a name.
    ///
    /// # Errors
    /// 404 for the first that is not there. What fails later ends the archive with an error.
    pub async fn save(&self, names: &[String]) -> Result<Archive> {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        for name in names {
            for (record, reference) in self.to_save(name).await? {
                let id = record.id().to_owned();
                let entry = wanted.entry(id).or_insert_with(|| Wanted {
                    record,
                    names: Vec::new(),
                });
                entry.names.extend(reference);
            }
        }
        let (sender, receiver) = mpsc::channel(4);
        let service = self.clone();
        let images: Vec<Wanted> = wanted.into_values().collect();
        let failed = sender.clone();
        tokio::spawn(async move {
            let store = service.store().clone();
            let work = move |scope: Scope| async move { service.write_archive(&scope, &images, Out { sender }).await };
            if let Err(error) = scope::within(&store, CancellationToken::new(), work).await {
                // Nobody may be there to hear it.
                let _ = failed.send(Err(std::io::Error::other(error.message))).await;
            }
        });
        Ok(receiver)
    }

    /// The images that a text names, with the name to save each by.
    async fn to_save(&self, text: &str) -> Result<Vec<(Record, Option<Reference>)>> {
        let parsed = Reference::parse(text).ok();
        let found = self.find(text).await;
        let by_id = found
            .as_ref()
            .is_ok_and(|r| matches_id(r.id(), text) && familiar(&r.name) != text);
        match parsed {
            Some(reference) if !by_id && reference.tag().is_none() && reference.digest().is_none() => {
                let mut all = self.store().images().await?;
                all.retain(|r| {
                    Reference::parse(&r.name).is_ok_and(|n| n.name() == reference.name() && n.tag().is_some())
                });
                if all.is_empty() {
                    return Err(no_such_image(&reference.familiar()));
                }
                Ok(all
                    .into_iter()
                    .map(|r| (r.clone(), Reference::parse(&r.name).ok()))
                    .collect())
            }
            Some(reference) if !by_id && reference.digest().is_none() => Ok(vec![(found?, Some(reference))]),
            _ => Ok(vec![(found?, None)]),
        }
    }

    async fn write_archive(&self, scope: &Scope, images: &[Wanted], mut out: Out) -> Result<()> {
        let mut written: HashMap<String, ()> = HashMap::new();
        let (mut index, mut items) = (Vec::new(), Vec::new());
        for image in images {
            let known = self.known_any(&image.record).await?;
            let known =
                known.ok_or_else(|| Error::internal(format!("content of {} is not here", image.record.id())))?;
            let mut blobs = vec![image.record.target.clone()];
            if document::is_index(image.record.target.media_type().as_ref()) {
                blobs.extend(self.present(scope, &image.record.target).await?);
            } else {
                blobs.push(known.config.clone());
                blobs.extend(known.layers.iter().cloned());
            }
            for blob in &blobs {
                if written.insert(blob.digest().to_string(), ()).is_none() {
                    out.blob(scope, blob).await?;
                }
            }
            let target = &image.record.target;
            let descriptor =
                json!({ "mediaType": target.media_type(), "digest": target.digest(), "size": target.size() });
            if image.names.is_empty() {
                index.push(descriptor.clone());
            }
            for name in &image.names {
                let mut named = descriptor.clone();
                named["annotations"] = json!({
                    "io.containerd.image.name": canonical(name),
                    "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
                });
                index.push(named);
            }
            items.push(json!({
                "Config": path_of(&known.config),
                "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": known.layers.iter().map(path_of).collect::<Vec<_>>(),
            }));
            self.event("save", image.record.id(), image.record.id());
        }
        let index = json!({ "schemaVersion": 2, "mediaType": document::OCI_INDEX, "manifests": index });
        out.file("index.json", index.to_string().into()).await?;
        out.file("manifest.json", json!(items).to_string().into()).await?;
        out.file("oci-layout", Bytes::from_static(b"{\"imageLayoutVersion\":\"1.0.0\"}"))
            .await?;
        out.send(Bytes::from_static(&[0; 1024])).await
    }

    /// What of an index is in the store: manifests, configs, layers.
    async fn present(&self, scope: &Scope, index: &Descriptor) -> Result<Vec<Descriptor>> {
        let Document::Index(index) = scope.store.document(index).await? else {
            return Ok(Vec::new());
        };
        let mut blobs = Vec::new();
        for child in index.manifests() {
            if !document::is_manifest(child.media_type().as_ref())
                || scope.store.info(child.digest().as_ref()).await?.is_none()
            {
                continue;
            }
            blobs.push(child.clone());
            let Document::Manifest(manifest) = scope.store.document(child).await? else {
                continue;
            };
            for blob in manifest.layers().iter().chain([manifest.config()]) {
                if scope.store.info(blob.digest().as_ref()).await?.is_some() {
                    blobs.push(blob.clone());
                }
            }
        }
        Ok(blobs)
    }
}

fn path_of(blob: &Descriptor) -> String {
    format!("blobs/{}", blob.digest().to_string().replace(':', "/"))
}

/// The writing end: tar members to bytes.
struct Out {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Out {
    async fn send(&mut self, bytes: Bytes) -> Result<()> {
        let gone = |_| Error::internal("context canceled");
        self.sender.send(Ok(bytes)).await.map_err(gone)
    }

    async fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header
            .set_path(name)
            .map_err(|e| Error::failed(format!("archive member {name}"), e))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.send(Bytes::copy_from_slice(header.as_bytes())).await
    }

    async fn pad(&mut self, size: u64) -> Result<()> {
        let rest = usize::try_from((BLOCK - size % BLOCK) % BLOCK).unwrap_or(0);
        if rest == 0 {
            Ok(())
        } else {
            self.send(Bytes::from(vec![0; rest])).await
        }
    }

    async fn file(&mut self, name: &str, bytes: Bytes) -> Result<()> {
        let size = bytes.len() as u64;
        self.header(name, size).await?;
        self.send(bytes).await?;
        self.pad(size).await
    }

    /// A blob, streamed from the store.
    async fn blob(&mut self, scope: &Scope, blob: &Descriptor) -> Result<()> {
        let digest = blob.digest().to_string();
        scope.store.keep(&scope.lease, "content", &digest).await?;
        self.header(&path_of(blob), blob.size()).await?;
        let request = ReadContentRequest {
            digest: digest.clone(),
            offset: 0,
            size: 0,
        };
        let mut stream = scope.store.l3.content().read(request).await?.into_inner();
        let mut left = blob.size();
        while let Some(message) = stream.message().await? {
            let too_long = || Error::internal(format!("content {digest} is longer than its descriptor says"));
            left = left.checked_sub(message.data.len() as u64).ok_or_else(too_long)?;
            self.send(message.data.into()).await?;
        }
        if left > 0 {
            return Err(Error::internal(format!(
                "content {digest} is shorter than its descriptor says"
            )));
        }
        self.pad(blob.size()).await
    }
}
