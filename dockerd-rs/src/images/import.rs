//! `docker import`: a root filesystem's tar becomes an image of one layer.

use std::collections::HashMap;

use axum::body::Body;
use bytes::Bytes;
use containerd_rs_registry::digest;
use containerd_rs_registry::document::{OCI_CONFIG, OCI_MANIFEST};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::archive::{Piece, plain};
use super::changes;
use super::config::{HistoryEntry, ImageConfig, ImageDocument, RootFs};
use super::load::put_manifest;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::{Reference, canonical};
use super::scope::{self, Scope};
use super::spool::Spool;
use super::store::dangling_name;
use super::{ImageService, ingest};
use crate::error::{Error, Result};

/// What is to be made of a tar.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The name of the new image, if it gets one.
    pub reference: Option<Reference>,
    /// Dockerfile instructions for its config.
    pub changes: Vec<String>,
    /// Comment.
    pub message: String,
    /// Its platform; this machine's when none is given.
    pub platform: Option<Platform>,
}

impl ImageService {
    /// Imports a tar, plain or compressed, and tells the new image's id.
    ///
    /// # Errors
    /// 400 for a change that is not an instruction; what is wrong with the tar. Nothing is left of it then.
    pub async fn import(
        &self,
        request: ImportRequest,
        body: Body,
        progress: Progress,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut config = ImageConfig::default();
        let wrong = request
            .changes
            .iter()
            .find_map(|change| changes::apply(&mut config, change).err());
        if let Some(error) = wrong {
            return Err(error);
        }
        let service = self.clone();
        let id = scope::within(self.store(), cancel, move |scope| async move {
            service.import_within(&scope, request, config, body).await
        })
        .await?;
        progress.message(id).await;
        Ok(())
    }

    async fn import_within(
        &self,
        scope: &Scope,
        request: ImportRequest,
        config: ImageConfig,
        body: Body,
    ) -> Result<String> {
        let (layer, size) = spool_plain(scope, body).await?;
        let document = document_of(&request, config, &layer);
        let text = serde_json::to_vec(&document).map_err(|e| Error::failed("image config", e))?;
        let config = Bytes::from(text);
        let config_digest = digest::sha256(&config);
        let reference = format!("config-{config_digest}");
        scope.ingest_begins(&reference);
        ingest::put(&scope.store, &reference, &config_digest, &config, HashMap::new()).await?;
        scope.ingest_ends(&reference);
        scope.store.keep(&scope.lease, "content", &config_digest).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_CONFIG, "digest": config_digest, "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }],
        });
        let target = put_manifest(scope, OCI_MANIFEST, &manifest).await?;
        let known = self.known_manifest(&target).await?;
        self.unpack_all(scope, &known).await?;
        let id = target.digest().to_string();
        match &request.reference {
            Some(reference) => {
                let reference = reference.clone().or_latest();
                self.set_name(&canonical(&reference), &target).await?;
                self.event("import", &id, &reference.familiar());
            }
            None => {
                self.store()
                    .put_image(&dangling_name(&id), &target, HashMap::new())
                    .await?;
                self.event("import", &id, &id);
            }
        }
        Ok(id)
    }
}

/// The decompressed tar as a blob: its digest is the layer's diff id too.
async fn spool_plain(scope: &Scope, body: Body) -> Result<(String, u64)> {
    let mut pieces = plain(body);
    let mut spool = Spool::open(scope, 0, None).await?;
    while let Some(piece) = pieces.next().await? {
        if let Piece::Data(data) = piece {
            spool.write(&data).await?;
        }
    }
    let size = spool.size();
    Ok((spool.finish(HashMap::new()).await?, size))
}

fn document_of(request: &ImportRequest, config: ImageConfig, layer: &str) -> ImageDocument {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let created = Some(jiff::Timestamp::now().to_string());
    let entry = HistoryEntry {
        created: created.clone(),
        comment: request.message.clone(),
        ..HistoryEntry::default()
    };
    ImageDocument {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        created,
        comment: request.message.clone(),
        config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![layer.to_owned()],
        },
        history: vec![entry],
        ..ImageDocument::default()
    }
}
