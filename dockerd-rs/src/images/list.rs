//! `docker images`: names gathered by image.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use containerd_rs_registry::document::{self, Document};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::filters::{Filters, glob, moment};
use super::reference::Reference;
use super::resolve::Known;
use super::store::Record;
use super::{ImageService, config, platform::Platform};
use crate::api::ApiVersion;
use crate::error::Result;

/// Filter keys of the list.
pub const LIST_FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

/// What a list may be asked for beside its filters.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListOptions {
    /// Whether the bytes shared with other images are worked out.
    pub shared_size: bool,
}

/// One image: all names that point to it.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) records: Vec<Record>,
    /// Short names with tags.
    pub(crate) tags: Vec<String>,
    /// Short names with the digest.
    pub(crate) digests: Vec<String>,
    /// The parsed image; nothing when the store has none of its documents.
    pub(crate) known: Option<Arc<Known>>,
}

impl Group {
    pub(crate) fn id(&self) -> &str {
        self.records.first().map_or("", Record::id)
    }

    pub(crate) fn is_dangling(&self) -> bool {
        self.records.iter().all(Record::is_dangling)
    }

    /// When the image was made; 1970 when it does not say.
    pub(crate) fn created(&self) -> Timestamp {
        let text = self.known.as_ref().and_then(|k| k.document.created.clone());
        text.and_then(|t| t.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Snapshot keys of its layers.
    pub(crate) fn chain(&self) -> Vec<String> {
        self.known
            .as_ref()
            .map_or_else(Vec::new, |k| config::chain_ids(&k.document.rootfs.diff_ids))
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.known.as_ref().and_then(|k| k.document.config.labels.as_ref())
    }

    /// Leaves only the names that match one of the patterns. Says whether any does.
    fn narrow(&mut self, patterns: &[String]) -> bool {
        let matches = |record: &Record| {
            let parsed = Reference::parse(&record.name).ok().filter(|_| !record.is_dangling());
            parsed.is_some_and(|r| {
                patterns
                    .iter()
                    .any(|p| glob(p, &r.familiar()) || glob(p, &r.familiar_name()))
            })
        };
        if !patterns.is_empty() {
            self.records.retain(matches);
            (self.tags, self.digests) = names(&self.records);
        }
        !self.records.is_empty()
    }
}

/// The short names of records: with tags, and with the digest.
pub(crate) fn names(records: &[Record]) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for record in records.iter().filter(|r| !r.is_dangling()) {
        let Ok(reference) = Reference::parse(&record.name) else {
            continue;
        };
        if reference.tag().is_some() && reference.digest().is_none() {
            tags.push(reference.familiar());
        }
        digests.push(format!("{}@{}", reference.familiar_name(), record.id()));
    }
    tags.sort();
    digests.sort();
    digests.dedup();
    (tags, digests)
}

impl ImageService {
    /// All images, newest first.
    pub(crate) async fn groups(&self) -> Result<Vec<Group>> {
        let mut by_id: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in self.store().images().await? {
            by_id.entry(record.id().to_owned()).or_default().push(record);
        }
        let mut groups = Vec::with_capacity(by_id.len());
        for records in by_id.into_values() {
            let (tags, digests) = names(&records);
            let known = match records.first() {
                Some(record) => self.known_any(record).await?,
                None => None,
            };
            groups.push(Group {
                records,
                tags,
                digests,
                known,
            });
        }
        groups.sort_by_key(|g| std::cmp::Reverse(g.created()));
        Ok(groups)
    }

    /// The image for this machine, else any that is here, else nothing.
    pub(crate) async fn known_any(&self, record: &Record) -> Result<Option<Arc<Known>>> {
        match self.known(&record.target, &Platform::host()).await {
            Ok(known) => return Ok(Some(known)),
            Err(error) => tracing::debug!(name = %record.name, %error, "no image for this machine"),
        }
        if !document::is_index(record.target.media_type().as_ref()) {
            return Ok(None);
        }
        let Ok(Document::Index(index)) = self.store().document(&record.target).await else {
            return Ok(None);
        };
        for manifest in index
            .manifests()
            .iter()
            .filter(|d| document::is_manifest(d.media_type().as_ref()))
        {
            if let Ok(known) = self.known_manifest(manifest).await {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// `GET /images/json`.
    ///
    /// # Errors
    /// 400 for a filter value that means nothing; 404 for a `before` or `since` image that is not there.
    pub async fn list(&self, filters: &Filters, options: ListOptions, version: ApiVersion) -> Result<Vec<Value>> {
        let groups = self.groups().await?;
        let chosen = self.filter(groups.clone(), filters).await?;
        let mut shared: HashMap<String, usize> = HashMap::new();
        for chain in groups.iter().map(Group::chain) {
            for id in chain.into_iter().collect::<HashSet<_>>() {
                *shared.entry(id).or_default() += 1;
            }
        }
        let users = self.users();
        let mut summaries = Vec::with_capacity(chosen.len());
        for group in &chosen {
            let unpacked = self.unpacked(&group.chain()).await?;
            let size = group_size(group).saturating_add(unpacked.iter().map(|(_, s)| s).sum());
            let common = unpacked.iter().filter(|(id, _)| shared.get(id).is_some_and(|n| *n > 1));
            let shared_size = if options.shared_size {
                json!(common.map(|(_, s)| s).sum::<u64>())
            } else {
                json!(-1)
            };
            let containers = users.iter().filter(|u| u.image == group.id()).count();
            summaries.push(summary(group, size, &shared_size, containers, version));
        }
        Ok(summaries)
    }

    pub(crate) async fn filter(&self, groups: Vec<Group>, filters: &Filters) -> Result<Vec<Group>> {
        let dangling = filters.boolean("dangling")?;
        let mut oldest: Option<Timestamp> = None;
        let mut newest: Option<Timestamp> = None;
        for (key, bound) in [("since", &mut oldest), ("before", &mut newest)] {
            for name in filters.get(key) {
                let id = self.find(name).await?.id().to_owned();
                *bound = groups.iter().find(|g| g.id() == id).map(Group::created);
            }
        }
        for text in filters.get("until") {
            let until = moment(text)?;
            newest = Some(newest.map_or(until, |n| n.min(until)));
        }
        let references = filters.get("reference");
        let keep = |g: &Group| {
            dangling.is_none_or(|want| g.is_dangling() == want)
                && oldest.is_none_or(|at| g.created() > at)
                && newest.is_none_or(|at| g.created() < at)
                && filters.labels_match(g.labels())
        };
        let mut kept: Vec<Group> = groups.into_iter().filter(keep).collect();
        kept.retain_mut(|group| group.narrow(references));
        Ok(kept)
    }

    /// Disk usage of committed layers, in bytes. Layers do not change: each is measured once.
    pub(crate) async fn unpacked(&self, chain: &[String]) -> Result<Vec<(String, u64)>> {
        let mut sizes = Vec::with_capacity(chain.len());
        for id in chain {
            let known = self
                .inner
                .usage
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(id)
                .copied();
            let size = match known {
                Some(size) => size,
                None => {
                    let Some(size) = self.store().snapshot_usage(id).await? else {
                        continue;
                    };
                    self.inner
                        .usage
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(id.clone(), size);
                    size
                }
            };
            sizes.push((id.clone(), size));
        }
        Ok(sizes)
    }
}

/// Bytes of an image's content: documents and packed layers.
pub(crate) fn group_size(group: &Group) -> u64 {
    let target = group.records.first().map_or(0, |r| r.target.size());
    match &group.known {
        Some(known) if group.id() == known.manifest.digest().as_ref() => known.content_size(),
        Some(known) => known.content_size().saturating_add(target),
        None => target,
    }
}

fn summary(group: &Group, size: u64, shared_size: &Value, containers: usize, version: ApiVersion) -> Value {
    let (mut tags, mut digests) = (group.tags.clone(), group.digests.clone());
    if !version.at_least(43) && tags.is_empty() && digests.is_empty() {
        tags.push("<none>:<none>".to_owned());
        digests.push("<none>@<none>".to_owned());
    }
    let mut summary = json!({
        "Id": group.id(),
        "ParentId": "",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": group.created().as_second(),
        "Size": size,
        "SharedSize": shared_size,
        "Labels": group.labels(),
        "Containers": if version.at_least(51) { json!(containers) } else { json!(-1) },
    });
    if !version.at_least(44) {
        summary["VirtualSize"] = json!(size);
    }
    if version.at_least(48)
        && let Some(record) = group.records.first()
    {
        summary["Descriptor"] = json!(record.target);
    }
    summary
}
