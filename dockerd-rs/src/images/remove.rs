//! `docker rmi` and `docker image prune`: names go, and with the last one the image.
//!
//! Removal by name takes that name; the image itself goes when it was the last. Removal by id takes all names, when they are
//! of one repository or it is forced. A running container's image cannot be removed; a stopped one's only by force. What is
//! no longer needed on disk is for the collector of the layer below, which is waited for.

use serde_json::{Value, json};

use super::filters::Filters;
use super::list::Group;
use super::reference::{Reference, canonical};
use super::resolve::{Wanted, familiar, matches_id, repository_of, wanted};
use super::store::Record;
use super::{ImageService, no_such_image, progress::short_id};
use crate::error::{Error, Result};

/// Filter keys of prune.
pub const PRUNE_FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

/// What a removal comes to, decided before anything is touched.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Only these names go; the image has others.
    Untag(Vec<Record>),
    /// The image goes with these, all its names.
    Delete(Vec<Record>),
    /// The names go, and the image stays without one for the containers that use it.
    Dangle(Vec<Record>),
}

impl ImageService {
    /// `DELETE /images/{name}`: what happened, as `{"Untagged": ..}` and `{"Deleted": ..}`.
    ///
    /// # Errors
    /// 404 for an image that is not there, 409 for one that is in use.
    pub async fn remove(&self, name: &str, force: bool) -> Result<Vec<Value>> {
        let plan = self.plan_removal(name, force).await?;
        self.carry_out(plan).await
    }

    async fn plan_removal(&self, name: &str, force: bool) -> Result<Plan> {
        let record = self.find(name).await?;
        let mut all = self.store().images().await?;
        all.retain(|r| r.id() == record.id());
        let by_id = matches!(wanted(name)?, Wanted::Id(_) | Wanted::Prefix(_))
            || record.is_dangling()
            || (matches_id(record.id(), name) && record.name != canonical(&Reference::parse(name)?.or_latest()));
        if by_id {
            let one = same_repository(&all);
            self.check_use(&record, force)?;
            if !one && !force {
                let why = "image is referenced in multiple repositories";
                return Err(conflict(short_id(record.id()), false, why));
            }
            return Ok(Plan::Delete(all));
        }
        let mut going = same_names(&Reference::parse(name)?, &all);
        if going.is_empty() {
            return Err(no_such_image(name));
        }
        if going.len() < all.len() {
            return Ok(Plan::Untag(going));
        }
        if let Some(user) = self.users().into_iter().find(|u| u.image == record.id()) {
            let shown = familiar(&record.name);
            if !force {
                return Err(Error::conflict(format!(
                    "conflict: unable to remove repository reference \"{shown}\" (must force) - container {} is using \
                     its referenced image {}",
                    short_id(&user.container),
                    short_id(record.id())
                )));
            }
            going.retain(|r| !r.is_dangling());
            return Ok(Plan::Dangle(going));
        }
        Ok(Plan::Delete(all))
    }

    /// Docker's conflicts of removal by id: a running container always, a stopped one unless forced.
    fn check_use(&self, record: &Record, force: bool) -> Result<()> {
        let users = self.users();
        let mut ours = users.iter().filter(|u| u.image == record.id());
        let id = short_id(record.id());
        if let Some(user) = ours.clone().find(|u| u.running) {
            let why = format!("image is being used by running container {}", short_id(&user.container));
            return Err(conflict(id, true, &why));
        }
        match ours.next() {
            Some(user) if !force => {
                let why = format!("image is being used by stopped container {}", short_id(&user.container));
                Err(conflict(id, false, &why))
            }
            _ => Ok(()),
        }
    }

    async fn carry_out(&self, plan: Plan) -> Result<Vec<Value>> {
        let mut done = Vec::new();
        match plan {
            Plan::Untag(records) => {
                for record in records {
                    self.untag(&record, false, &mut done).await?;
                }
            }
            Plan::Dangle(records) => {
                for record in &records {
                    self.store().keep_dangling(record).await?;
                    self.untag(record, false, &mut done).await?;
                }
            }
            Plan::Delete(records) => {
                let Some((last, others)) = records.split_last() else {
                    return Ok(done);
                };
                for record in others {
                    self.untag(record, false, &mut done).await?;
                }
                self.untag(last, true, &mut done).await?;
                self.forget();
                self.event("delete", last.id(), last.id());
                done.push(json!({ "Deleted": last.id() }));
            }
        }
        Ok(done)
    }

    async fn untag(&self, record: &Record, wait: bool, done: &mut Vec<Value>) -> Result<()> {
        let _turn = self.inner.locks.turn(&record.name).await;
        self.store().delete_image(&record.name, wait).await?;
        if !record.is_dangling() {
            let shown = familiar(&record.name);
            self.event("untag", record.id(), &shown);
            done.push(json!({ "Untagged": shown }));
        }
        Ok(())
    }

    /// `POST /images/prune`: removes images without a name (`dangling=true`, the default) or all that no container uses.
    ///
    /// # Errors
    /// 400 for a filter that means nothing.
    pub async fn prune(&self, filters: &Filters) -> Result<Value> {
        let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
        let users = self.users();
        let before = self.store().content_size().await?;
        let without = filters.without("dangling");
        let groups = self.filter(self.groups().await?, &without).await?;
        let unused = |g: &Group| !users.iter().any(|u| u.image == g.id());
        let mut done = Vec::new();
        for group in groups
            .into_iter()
            .filter(unused)
            .filter(|g| !only_dangling || g.is_dangling())
        {
            done.extend(self.carry_out(Plan::Delete(group.records)).await?);
        }
        let after = self.store().content_size().await?;
        self.event("prune", "", "");
        let deleted = if done.is_empty() {
            Value::Null
        } else {
            Value::Array(done)
        };
        Ok(json!({ "ImagesDeleted": deleted, "SpaceReclaimed": before.saturating_sub(after) }))
    }
}

fn conflict(what: &str, hard: bool, why: &str) -> Error {
    let force = if hard { "cannot be forced" } else { "must be forced" };
    Error::conflict(format!("conflict: unable to delete {what} ({force}) - {why}"))
}

/// Whether all names are of one repository and of one tag (a name by digest goes along).
fn same_repository(all: &[Record]) -> bool {
    let named: Vec<&Record> = all.iter().filter(|r| !r.is_dangling()).collect();
    let Some(first) = named.first().and_then(|r| Reference::parse(&r.name).ok()) else {
        return true;
    };
    let tags: std::collections::BTreeSet<String> = named
        .iter()
        .filter_map(|r| Reference::parse(&r.name).ok())
        .filter_map(|r| r.tag().map(str::to_owned))
        .collect();
    tags.len() <= 1 && named.iter().all(|r| repository_of(&r.name) == Some(first.name()))
}

/// The names that go with a reference: itself; with a digest, all of its repository; place holders always; and a name by
/// digest of its repository when no other tag of that repository is left.
fn same_names(reference: &Reference, all: &[Record]) -> Vec<Record> {
    let reference = reference.clone().or_latest();
    let parsed: Vec<(&Record, Option<Reference>)> = all.iter().map(|r| (r, Reference::parse(&r.name).ok())).collect();
    let here = |r: &Reference| r.name() == reference.name();
    let other_tag = parsed.iter().any(|(_, r)| {
        r.as_ref()
            .is_some_and(|r| here(r) && r.tag().is_some() && r.tag() != reference.tag())
    });
    let goes = |record: &Record, parsed: &Option<Reference>| match parsed {
        _ if record.is_dangling() => true,
        None => false,
        Some(r) if !here(r) => false,
        Some(_) if reference.digest().is_some() => true,
        Some(r) if r.digest().is_some() => !other_tag,
        Some(r) => r.tag() == reference.tag(),
    };
    parsed
        .iter()
        .filter(|(record, parsed)| goes(record, parsed))
        .map(|(record, _)| (*record).clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_rs_registry::{Descriptor, MediaType, digest};

    fn record(name: &str) -> Record {
        let digest = digest::parse(&digest::sha256(b"x")).unwrap();
        let target = Descriptor::new(MediaType::ImageManifest, 1, digest);
        Record {
            name: name.into(),
            target,
            labels: std::collections::HashMap::new(),
            updated: 0,
        }
    }

    fn going(name: &str, all: &[&str]) -> Vec<String> {
        let all: Vec<Record> = all.iter().map(|n| record(n)).collect();
        same_names(&Reference::parse(name).unwrap(), &all)
            .into_iter()
            .map(|r| r.name)
            .collect()
    }

    #[test]
    fn a_name_takes_itself_and_what_hangs_on_it() {
        let by_digest = format!("docker.io/library/a@{}", digest::sha256(b"x"));
        let (one, two, other) = ("docker.io/library/a:1", "docker.io/library/a:2", "docker.io/me/b:1");
        assert_eq!(going("a:1", &[one, two, other]), [one]);
        assert_eq!(going("a:1", &[one, &by_digest]), [one, &by_digest]);
        assert_eq!(going("a:1", &[one, two, &by_digest]), [one]);
        assert_eq!(going(&by_digest, &[one, two, other]), [one, two]);
        assert_eq!(going("c", &[one, two]), Vec::<String>::new());
    }

    #[test]
    fn several_repositories_are_a_conflict_of_removal_by_id() {
        let of = |names: &[&str]| same_repository(&names.iter().map(|n| record(n)).collect::<Vec<_>>());
        assert!(of(&["docker.io/library/a:1"]));
        assert!(!of(&["docker.io/library/a:1", "docker.io/library/a:2"]));
        assert!(!of(&["docker.io/library/a:1", "docker.io/library/b:1"]));
        assert!(of(&["moby-dangling@sha256:x"]));
    }
}
