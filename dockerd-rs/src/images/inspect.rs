//! `docker image inspect` and `docker history`.

use serde_json::{Value, json};

use super::list::{Group, group_size, names};
use super::platform::Platform;
use super::resolve::Known;
use super::store::Record;
use super::{ImageService, config, no_such_image};
use crate::api::ApiVersion;
use crate::error::{Error, Result};

impl ImageService {
    /// `GET /images/{name}/json`.
    ///
    /// # Errors
    /// 404 for an image that is not there, or not for the platform that was asked for.
    pub async fn inspect(&self, name: &str, platform: Option<&Platform>, version: ApiVersion) -> Result<Value> {
        let (group, known) = self.one(name, platform).await?;
        let chain = config::chain_ids(&known.document.rootfs.diff_ids);
        let unpacked: u64 = self.unpacked(&chain).await?.iter().map(|(_, size)| size).sum();
        let size = group_size(&group).saturating_add(unpacked);
        let document = &known.document;
        let tagged = group.records.iter().map(|r| r.updated).max().unwrap_or(0);
        let mut inspected = json!({
            "Id": group.id(),
            "RepoTags": group.tags,
            "RepoDigests": group.digests,
            "Parent": "",
            "Comment": document.comment,
            "Created": document.created.clone().unwrap_or_default(),
            "DockerVersion": document.docker_version,
            "Author": document.author,
            "Config": shown_config(&known, version),
            "Architecture": document.architecture,
            "Os": document.os,
            "Size": size,
            "GraphDriver": { "Data": null, "Name": self.store().l3.snapshotter() },
            "RootFS": { "Type": "layers", "Layers": document.rootfs.diff_ids },
            "Metadata": { "LastTagTime": jiff::Timestamp::from_second(tagged).unwrap_or_default().to_string() },
        });
        if !document.variant.is_empty() {
            inspected["Variant"] = json!(document.variant);
        }
        if !document.os_version.is_empty() {
            inspected["OsVersion"] = json!(document.os_version);
        }
        if !version.at_least(44) {
            inspected["VirtualSize"] = json!(size);
        }
        if version.at_least(48)
            && let Some(record) = group.records.first()
        {
            inspected["Descriptor"] = json!(record.target);
        }
        Ok(inspected)
    }

    /// `GET /images/{name}/history`, newest step first.
    ///
    /// # Errors
    /// 404 for an image that is not there.
    pub async fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<Value>> {
        let (group, known) = self.one(name, platform).await?;
        let chain = config::chain_ids(&known.document.rootfs.diff_ids);
        let sizes = self.unpacked(&chain).await?;
        let mut layers = chain
            .iter()
            .map(|id| sizes.iter().find(|(of, _)| of == id).map_or(0, |(_, size)| *size));
        let mut steps: Vec<Value> = Vec::new();
        for entry in &known.document.history {
            let size = if entry.empty_layer {
                0
            } else {
                layers.next().unwrap_or(0)
            };
            let created = entry.created.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            steps.push(json!({
                "Id": "<missing>",
                "Created": created.map_or(0, jiff::Timestamp::as_second),
                "CreatedBy": entry.created_by,
                "Tags": null,
                "Size": size,
                "Comment": entry.comment,
            }));
        }
        steps.reverse();
        if let Some(first) = steps.first_mut() {
            first["Id"] = json!(group.id());
            first["Tags"] = if group.tags.is_empty() {
                Value::Null
            } else {
                json!(group.tags)
            };
        }
        Ok(steps)
    }

    /// An image with all its names, and its parsed form for a platform.
    async fn one(&self, name: &str, platform: Option<&Platform>) -> Result<(Group, std::sync::Arc<Known>)> {
        let record = self.find(name).await?;
        let known = match platform {
            Some(platform) => self.for_platform(name, &record, platform).await?,
            None => self.known_any(&record).await?.ok_or_else(|| no_such_image(name))?,
        };
        let mut records = self.store().images().await?;
        records.retain(|r| r.id() == record.id());
        let (tags, digests) = names(&records);
        Ok((
            Group {
                records,
                tags,
                digests,
                known: Some(known.clone()),
            },
            known,
        ))
    }

    async fn for_platform(&self, name: &str, record: &Record, platform: &Platform) -> Result<std::sync::Arc<Known>> {
        let found = self
            .known(&record.target, platform)
            .await
            .ok()
            .filter(|k| platform.matches(&k.platform()));
        found.ok_or_else(|| {
            let why = format!("was found but does not provide the specified platform ({platform})");
            Error::not_found(format!("image with reference {name} {why}"))
        })
    }
}

/// The config as clients of a version expect it: before 1.50 with the fields that only containers have a use for.
fn shown_config(known: &Known, version: ApiVersion) -> Value {
    let mut shown = json!(known.document.config);
    if !version.at_least(50)
        && let Value::Object(fields) = &mut shown
    {
        for key in ["Hostname", "Domainname", "Image"] {
            fields.entry(key).or_insert(json!(""));
        }
        for key in [
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
            "Tty",
            "OpenStdin",
            "StdinOnce",
        ] {
            fields.entry(key).or_insert(json!(false));
        }
        for key in ["Volumes", "OnBuild"] {
            fields.entry(key).or_insert(Value::Null);
        }
    }
    shown
}
