//! From a registry into the content store: documents, then layers, three at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use containerd_rs_registry::document::{self, Document};
use containerd_rs_registry::{Descriptor, Fetcher, RegistryError};
use futures_util::StreamExt;

use super::ingest::{self, Opened, Writer};
use super::locks::Locks;
use super::progress::{Progress, short_id};
use super::scope::Scope;
use super::store::bad_document;
use crate::error::{Error, Result};

/// How often a layer's bytes are told, at most.
const TELL: Duration = Duration::from_millis(100);
/// How often, when nothing comes.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// One pull's means.
pub(crate) struct Fetching<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) locks: &'a Locks,
    pub(crate) fetcher: &'a dyn Fetcher,
    pub(crate) progress: &'a Progress,
    /// The label that says where content came from, for pushes that can mount it there.
    pub(crate) source: (String, String),
}

/// The labels that keep the children of a document as long as the document itself.
pub(crate) fn child_labels(document: &Document) -> HashMap<String, String> {
    let mut labels = HashMap::new();
    let mut add = |key: String, d: &Descriptor| {
        labels.insert(format!("containerd.io/gc.ref.content.{key}"), d.digest().to_string())
    };
    match document {
        Document::Index(index) => {
            for (at, child) in index.manifests().iter().enumerate() {
                add(format!("m.{at}"), child);
            }
        }
        Document::Manifest(manifest) => {
            add("config".to_owned(), manifest.config());
            for (at, layer) in manifest.layers().iter().enumerate() {
                add(format!("l.{at}"), layer);
            }
        }
    }
    labels
}

impl Fetching<'_> {
    /// The bytes of a document or config, from the store or else from the registry. Verified, not yet stored.
    pub(crate) async fn read(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let digest = descriptor.digest().as_ref();
        if self.scope.store.info(digest).await?.is_some() {
            self.scope.store.keep(&self.scope.lease, "content", digest).await?;
            return self.scope.store.read(digest, document::DOCUMENT_LIMIT).await;
        }
        self.fetcher.document(descriptor).await.map_err(fetch_error)
    }

    /// A manifest or an index: read, checked, and stored with labels that keep its children.
    pub(crate) async fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = self.read(descriptor).await?;
        let media_type = descriptor.media_type().as_ref();
        let parsed = document::parse(media_type, descriptor.digest().as_ref(), &bytes).map_err(bad_document)?;
        for child in children(&parsed) {
            containerd_rs_registry::digest::parse(child.digest().as_ref()).map_err(bad_document)?;
        }
        let kind = if document::is_index(media_type) {
            "index"
        } else {
            "manifest"
        };
        self.put(kind, descriptor, &bytes, child_labels(&parsed)).await?;
        Ok(parsed)
    }

    /// Stores a small blob that has been read.
    pub(crate) async fn put(
        &self,
        kind: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
        mut labels: HashMap<String, String>,
    ) -> Result<()> {
        let digest = descriptor.digest().as_ref();
        let _turn = self.locks.turn(digest).await;
        let reference = format!("{kind}-{digest}");
        labels.insert(self.source.0.clone(), self.source.1.clone());
        self.scope.ingest_begins(&reference);
        ingest::put(&self.scope.store, &reference, digest, bytes, labels).await?;
        self.scope.ingest_ends(&reference);
        self.scope.store.keep(&self.scope.lease, "content", digest).await
    }

    /// A layer, streamed into the store and told of in Docker's words.
    pub(crate) async fn layer(&self, descriptor: &Descriptor) -> Result<()> {
        let digest = descriptor.digest().as_ref();
        let id = short_id(digest).to_owned();
        let _turn = self.locks.turn(digest).await;
        let store = &self.scope.store;
        if store.info(digest).await?.is_some() {
            store.keep(&self.scope.lease, "content", digest).await?;
            store.set_labels(digest, HashMap::from([self.source.clone()])).await?;
            self.progress.state(&id, "Already exists").await;
            return Ok(());
        }
        let reference = format!("layer-{digest}");
        self.scope.ingest_begins(&reference);
        // What a daemon that died has left is gone on with once; when that does not fit, it is fetched from the start.
        let resumed = match self.copy(descriptor, &reference).await {
            Err(Copy { error, resumed: true }) => {
                tracing::info!(%digest, %error, "partial download was of no use");
                true
            }
            Err(Copy { error, .. }) => return Err(error),
            Ok(()) => false,
        };
        if resumed {
            ingest::abort(store, &reference).await;
            self.copy(descriptor, &reference).await.map_err(|failed| failed.error)?;
        }
        self.scope.ingest_ends(&reference);
        self.progress.state(&id, "Download complete").await;
        Ok(())
    }

    async fn copy(&self, descriptor: &Descriptor, reference: &str) -> Result<(), Copy> {
        let digest = descriptor.digest().as_ref();
        let fresh = |error| Copy { error, resumed: false };
        let opened = Writer::open(&self.scope.store, reference, descriptor.size(), digest)
            .await
            .map_err(fresh)?;
        let Opened::Writer(mut writer) = opened else {
            return Ok(());
        };
        let resumed = writer.offset() > 0;
        let failed = |error| Copy { error, resumed };
        if writer.offset() > descriptor.size() {
            return Err(failed(Error::internal("partial ingest is too long")));
        }
        self.pour(descriptor, &mut writer).await.map_err(failed)?;
        self.progress.state(short_id(digest), "Verifying Checksum").await;
        let labels = HashMap::from([self.source.clone()]);
        writer
            .commit(digest, labels)
            .await
            .map(|_| ())
            .map_err(|error| failed(commit_error(digest, error)))
    }

    async fn pour(&self, descriptor: &Descriptor, writer: &mut Writer) -> Result<()> {
        let id = short_id(descriptor.digest().as_ref());
        let size = descriptor.size();
        let mut stream = self
            .fetcher
            .fetch(descriptor, writer.offset())
            .await
            .map_err(fetch_error)?;
        let mut told: Option<Instant> = None;
        loop {
            // Told again when nothing comes: that is how a client that has gone away is noticed.
            let chunk = match tokio::time::timeout(TELL_AGAIN, stream.next()).await {
                Ok(None) => break,
                Ok(Some(chunk)) => Some(chunk.map_err(fetch_error)?),
                Err(_) => None,
            };
            if let Some(chunk) = &chunk {
                writer.write(chunk).await?;
            }
            if chunk.is_none() || told.is_none_or(|at| at.elapsed() >= TELL) {
                told = Some(Instant::now());
                self.progress.bytes(id, "Downloading", writer.offset(), size);
            }
        }
        Ok(())
    }
}

/// A copy that failed, and whether it went on from what was there.
struct Copy {
    error: Error,
    resumed: bool,
}

fn children(document: &Document) -> Vec<&Descriptor> {
    match document {
        Document::Index(index) => index.manifests().iter().collect(),
        Document::Manifest(manifest) => std::iter::once(manifest.config()).chain(manifest.layers()).collect(),
    }
}

/// The store's refusal of bytes that are not what their digest says, in Docker's words.
pub(crate) fn commit_error(digest: &str, error: Error) -> Error {
    let unexpected =
        error.message.contains("unexpected commit digest") || error.message.contains("failed size validation");
    if unexpected {
        return Error::internal(format!("filesystem layer verification failed for digest {digest}"));
    }
    Error::internal(error.message)
}

/// A registry's failure after the name was resolved.
pub(crate) fn fetch_error(error: RegistryError) -> Error {
    match error {
        RegistryError::Document { .. } | RegistryError::Schema1 { .. } => Error::internal(error.to_string()),
        error if error.is_not_found() => Error::not_found(format!("failed to copy: {error}: not found")),
        error => Error::internal(format!("failed to copy: {error}")),
    }
}
