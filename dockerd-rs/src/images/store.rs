//! Content, image names and snapshots of the layer below, in the words of this module.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use containerd_grpc::containerd::services::content::v1 as content;
use containerd_proto::containerd::services::content::v1::{
    Info, InfoRequest, ListContentRequest, ReadContentRequest, UpdateRequest,
};
use containerd_proto::containerd::services::images::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use containerd_proto::containerd::services::leases::v1::{AddResourceRequest, Resource};
use containerd_proto::containerd::services::snapshots::v1::{StatSnapshotRequest, UsageRequest};
use containerd_proto::containerd::types::Descriptor as ProtoDescriptor;
use containerd_rs_registry::{Descriptor, MediaType, RegistryError, digest, document};
use prost_types::FieldMask;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use crate::error::{Error, Result};
use crate::l3::L3;

/// Names of images that have lost theirs begin so, as moby's do.
pub(crate) const DANGLING: &str = "moby-dangling@";

/// An image name and what it points to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) target: Descriptor,
    pub(crate) labels: HashMap<String, String>,
    /// Seconds since 1970.
    pub(crate) updated: i64,
}

impl Record {
    /// The digest of the target, which is the image's id.
    pub(crate) fn id(&self) -> &str {
        self.target.digest().as_ref()
    }

    /// Whether its name is only a place holder.
    pub(crate) fn is_dangling(&self) -> bool {
        self.name.starts_with(DANGLING)
    }
}

/// The place holder's name for an image.
pub(crate) fn dangling_name(digest: &str) -> String {
    format!("{DANGLING}{digest}")
}

/// What of the layer below images are made of. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) l3: L3,
    /// Writers that were dropped and are being closed.
    pub(crate) closing: TaskTracker,
}

impl Store {
    /// A store over the layer below.
    pub(crate) fn new(l3: L3) -> Self {
        Self {
            l3,
            closing: TaskTracker::new(),
        }
    }

    /// What is known of a blob; nothing when it is not there.
    pub(crate) async fn info(&self, digest: &str) -> Result<Option<Info>> {
        let request = InfoRequest {
            digest: digest.to_owned(),
        };
        Ok(optional(self.l3.content().info(request).await)?.and_then(|reply| reply.info))
    }

    /// Reads a whole blob of at most `limit` bytes.
    pub(crate) async fn read(&self, digest: &str, limit: u64) -> Result<Bytes> {
        let failed = |why: String| Error::failed(format!("reading content {digest}"), why);
        let request = ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        };
        let mut client: content::content_client::ContentClient<_> = self.l3.content();
        let mut stream = client.read(request).await?.into_inner();
        let mut bytes = BytesMut::new();
        while let Some(message) = stream.message().await? {
            if (bytes.len() + message.data.len()) as u64 > limit {
                return Err(failed(format!("larger than the limit of {limit} bytes")));
            }
            bytes.extend_from_slice(&message.data);
        }
        Ok(bytes.freeze())
    }

    /// Reads and checks a manifest or an index.
    pub(crate) async fn document(&self, descriptor: &Descriptor) -> Result<document::Document> {
        let bytes = self
            .read(descriptor.digest().as_ref(), document::DOCUMENT_LIMIT)
            .await?;
        let parsed = document::parse(descriptor.media_type().as_ref(), descriptor.digest().as_ref(), &bytes);
        parsed.map_err(bad_document)
    }

    /// Sets labels of a blob, leaving its others.
    pub(crate) async fn set_labels(&self, digest: &str, labels: HashMap<String, String>) -> Result<()> {
        if labels.is_empty() {
            return Ok(());
        }
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Info {
            digest: digest.to_owned(),
            labels,
            ..Info::default()
        };
        let request = UpdateRequest {
            info: Some(info),
            update_mask: Some(FieldMask { paths }),
        };
        self.l3.content().update(request).await?;
        Ok(())
    }

    /// Bytes of all content together.
    pub(crate) async fn content_size(&self) -> Result<u64> {
        let mut stream = self
            .l3
            .content()
            .list(ListContentRequest::default())
            .await?
            .into_inner();
        let mut total = 0u64;
        while let Some(message) = stream.message().await? {
            let sizes = message.info.iter().map(|info| u64::try_from(info.size).unwrap_or(0));
            total = sizes.fold(total, u64::saturating_add);
        }
        Ok(total)
    }

    /// Puts a resource under a lease, so that it stays while the lease does.
    pub(crate) async fn keep(&self, lease: &str, kind: &str, id: &str) -> Result<()> {
        let resource = Resource {
            id: id.to_owned(),
            r#type: kind.to_owned(),
        };
        let request = AddResourceRequest {
            id: lease.to_owned(),
            resource: Some(resource),
        };
        self.l3.leases().add_resource(request).await?;
        Ok(())
    }

    /// Whether a committed or active snapshot of this key exists.
    pub(crate) async fn has_snapshot(&self, key: &str) -> Result<bool> {
        let request = StatSnapshotRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: key.to_owned(),
        };
        Ok(optional(self.l3.snapshots().stat(request).await)?.is_some())
    }

    /// Disk usage of one snapshot without its parents, in bytes; nothing when there is none.
    pub(crate) async fn snapshot_usage(&self, key: &str) -> Result<Option<u64>> {
        let request = UsageRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: key.to_owned(),
        };
        let usage = optional(self.l3.snapshots().usage(request).await)?;
        Ok(usage.map(|u| u64::try_from(u.size).unwrap_or(0)))
    }

    /// The image of exactly this name.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Record>> {
        let request = GetImageRequest { name: name.to_owned() };
        let reply = optional(self.l3.images().get(request).await)?;
        reply.and_then(|r| r.image).map(record).transpose()
    }

    /// All images. Records that cannot be understood are left out, with a warning: they are not ours.
    pub(crate) async fn images(&self) -> Result<Vec<Record>> {
        let reply = self.l3.images().list(ListImagesRequest::default()).await?.into_inner();
        let mut records = Vec::with_capacity(reply.images.len());
        for image in reply.images {
            match record(image) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(%error, "image record left out"),
            }
        }
        Ok(records)
    }

    /// Points a name at a target, whether it existed or not.
    pub(crate) async fn put_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: HashMap<String, String>,
    ) -> Result<()> {
        let image = Image {
            name: name.to_owned(),
            target: Some(to_proto(target)),
            labels,
            ..Image::default()
        };
        for _ in 0..8 {
            let create = CreateImageRequest {
                image: Some(image.clone()),
                source_date_epoch: None,
            };
            match self.l3.images().create(create).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::AlreadyExists => {}
                Err(status) => return Err(status.into()),
            }
            let paths = vec!["target".to_owned()];
            let update_mask = Some(FieldMask { paths });
            let update = UpdateImageRequest {
                image: Some(image.clone()),
                update_mask,
                source_date_epoch: None,
            };
            // Gone between the two calls: create it after all.
            if optional(self.l3.images().update(update).await)?.is_some() {
                return Ok(());
            }
        }
        Err(Error::failed(format!("setting image {name}"), "it comes and goes"))
    }

    /// Removes a name. With `wait`, what nothing else needs is gone when this returns. Says whether there was one.
    pub(crate) async fn delete_image(&self, name: &str, wait: bool) -> Result<bool> {
        let request = DeleteImageRequest {
            name: name.to_owned(),
            sync: wait,
            target: None,
        };
        Ok(optional(self.l3.images().delete(request).await)?.is_some())
    }

    /// Keeps an image that loses its last name, under a place holder.
    pub(crate) async fn keep_dangling(&self, record: &Record) -> Result<()> {
        let name = dangling_name(record.id());
        self.put_image(&name, &record.target, record.labels.clone()).await
    }
}

/// Not found is an answer, not an error.
fn optional<T>(reply: std::result::Result<tonic::Response<T>, Status>) -> Result<Option<T>> {
    match reply {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// The layer below's form of a descriptor.
pub(crate) fn to_proto(descriptor: &Descriptor) -> ProtoDescriptor {
    ProtoDescriptor {
        media_type: descriptor.media_type().to_string(),
        digest: descriptor.digest().to_string(),
        size: i64::try_from(descriptor.size()).unwrap_or(i64::MAX),
        annotations: descriptor.annotations().clone().unwrap_or_default(),
    }
}

fn record(image: Image) -> Result<Record> {
    let bad = |why: &str| Error::failed(format!("image record {}", image.name), why);
    let target = image.target.as_ref().ok_or_else(|| bad("no target"))?;
    let size = u64::try_from(target.size).map_err(|_| bad("negative size"))?;
    let parsed = digest::parse(&target.digest).map_err(|e| bad(&e.to_string()))?;
    let target = Descriptor::new(MediaType::from(target.media_type.as_str()), size, parsed);
    let updated = image.updated_at.map_or(0, |t| t.seconds);
    Ok(Record {
        target,
        updated,
        name: image.name,
        labels: image.labels,
    })
}

/// A document of the store or of a registry that cannot be used.
pub(crate) fn bad_document(error: RegistryError) -> Error {
    Error::internal(error.to_string())
}
