//! Records of containers.

use std::sync::Arc;

use containerd_rs_core::{
    Container, ContainerStore, Ctx, Error, Result, Timestamp, fields, validate_identifier, validate_labels,
};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::tx::Table;
use crate::{namespaces, records};

/// The containers of the database.
pub struct Containers {
    pub(crate) db: Arc<Db>,
    pub(crate) activity: Arc<Activity>,
}

fn validate(container: &Container) -> Result<()> {
    let invalid = |text: &str| Err(Error::InvalidArgument(text.to_owned()));
    validate_identifier(&container.id).map_err(|e| e.context("container.ID"))?;
    if container.extensions.contains_key("") {
        return invalid("container.Extension keys must not be zero-length");
    }
    validate_labels(&container.labels).map_err(|e| e.context("containers.Labels"))?;
    if container.runtime.name.is_empty() {
        return invalid("container.Runtime.Name must be set");
    }
    if container.spec.is_none() {
        return invalid("container.Spec must be set");
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return invalid("container.Snapshotter must be set if container.SnapshotKey is set");
    }
    Ok(())
}

impl ContainerStore for Containers {
    fn get(&self, ctx: &Ctx, id: &str) -> Result<Container> {
        let found = records::find(&self.db.read()?, Table::Containers, ctx, id)?;
        found.ok_or_else(|| Error::NotFound(format!("container {id:?} in namespace {:?}", ctx.namespace)))
    }

    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Container>> {
        records::list(&self.db.read()?, Table::Containers, ctx, filters)
    }

    fn create(&self, ctx: &Ctx, mut container: Container) -> Result<Container> {
        validate(&container).map_err(|e| e.context("create container failed validation"))?;
        container.labels.retain(|_, value| !value.is_empty());
        container.created_at = Timestamp::now();
        container.updated_at = container.created_at;
        let ctx = ctx.clone();
        let made = self.db.write(Durability::Durable, move |tx| {
            namespaces::ensure(tx, &ctx.namespace)?;
            if records::find::<Container>(tx, Table::Containers, &ctx, &container.id)?.is_some() {
                return Err(Error::AlreadyExists(format!("container {:?}", container.id)));
            }
            records::store(tx, Table::Containers, &ctx, &container.id, &container)?;
            Ok(container)
        })?;
        self.activity.changed();
        Ok(made)
    }

    fn update(&self, ctx: &Ctx, container: Container, fields: &[String]) -> Result<Container> {
        if container.id.is_empty() {
            return Err(Error::InvalidArgument("must specify a container id".into()));
        }
        let (ctx, fields) = (ctx.clone(), fields.to_vec());
        let updated = self.db.write(Durability::Durable, move |tx| {
            let found = records::find(tx, Table::Containers, &ctx, &container.id)?;
            let absent = || Error::NotFound(format!("container {:?}", container.id));
            let mut updated: Container = found.ok_or_else(absent)?;
            fields::update_container(&mut updated, &container, &fields)?;
            validate(&updated).map_err(|e| e.context("update failed validation"))?;
            updated.updated_at = Timestamp::now();
            records::store(tx, Table::Containers, &ctx, &updated.id, &updated)?;
            Ok(updated)
        })?;
        self.activity.changed();
        Ok(updated)
    }

    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()> {
        let (ctx, id) = (ctx.clone(), id.to_owned());
        self.db.write(Durability::Durable, move |tx| {
            records::remove(tx, Table::Containers, &ctx, &id, &format!("container {id}"))
        })?;
        self.activity.deleted();
        Ok(())
    }
}
