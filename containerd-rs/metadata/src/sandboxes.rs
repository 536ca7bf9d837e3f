//! Records of sandboxes.

use std::sync::Arc;

use containerd_rs_core::{
    Ctx, Error, Result, Sandbox, SandboxStore, Timestamp, fields, validate_identifier, validate_labels,
};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::tx::Table;
use crate::{namespaces, records};

/// The sandboxes of the database.
pub struct Sandboxes {
    pub(crate) db: Arc<Db>,
    pub(crate) activity: Arc<Activity>,
}

fn validate(sandbox: &Sandbox) -> Result<()> {
    validate_identifier(&sandbox.id).map_err(|e| e.context("sandbox.ID"))?;
    validate_labels(&sandbox.labels).map_err(|e| e.context("sandbox.Labels"))
}

fn absent(id: &str) -> Error {
    Error::NotFound(format!("sandbox {id:?}"))
}

impl SandboxStore for Sandboxes {
    fn get(&self, ctx: &Ctx, id: &str) -> Result<Sandbox> {
        records::find(&self.db.read()?, Table::Sandboxes, ctx, id)?.ok_or_else(|| absent(id))
    }

    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Sandbox>> {
        records::list(&self.db.read()?, Table::Sandboxes, ctx, filters)
    }

    fn create(&self, ctx: &Ctx, mut sandbox: Sandbox) -> Result<Sandbox> {
        validate(&sandbox)?;
        sandbox.labels.retain(|_, value| !value.is_empty());
        sandbox.created_at = Timestamp::now();
        sandbox.updated_at = sandbox.created_at;
        let ctx = ctx.clone();
        let made = self.db.write(Durability::Durable, move |tx| {
            namespaces::ensure(tx, &ctx.namespace)?;
            if records::find::<Sandbox>(tx, Table::Sandboxes, &ctx, &sandbox.id)?.is_some() {
                return Err(Error::AlreadyExists(format!("sandbox {:?}", sandbox.id)));
            }
            records::store(tx, Table::Sandboxes, &ctx, &sandbox.id, &sandbox)?;
            Ok(sandbox)
        })?;
        self.activity.changed();
        Ok(made)
    }

    fn update(&self, ctx: &Ctx, sandbox: Sandbox, fields: &[String]) -> Result<Sandbox> {
        let (ctx, fields) = (ctx.clone(), fields.to_vec());
        let updated = self.db.write(Durability::Durable, move |tx| {
            let found = records::find(tx, Table::Sandboxes, &ctx, &sandbox.id)?;
            let mut updated: Sandbox = found.ok_or_else(|| absent(&sandbox.id))?;
            fields::update_sandbox(&mut updated, &sandbox, &fields)?;
            validate(&updated)?;
            updated.updated_at = Timestamp::now();
            records::store(tx, Table::Sandboxes, &ctx, &updated.id, &updated)?;
            Ok(updated)
        })?;
        self.activity.changed();
        Ok(updated)
    }

    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()> {
        let (ctx, id) = (ctx.clone(), id.to_owned());
        self.db.write(Durability::Durable, move |tx| {
            records::remove(tx, Table::Sandboxes, &ctx, &id, &format!("sandbox {id:?}"))
        })?;
        self.activity.deleted();
        Ok(())
    }
}
