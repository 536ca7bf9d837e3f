//! Leases, and what they hold.

use std::sync::Arc;

use containerd_rs_core::{Ctx, Digest, Error, Labels, Lease, LeaseStore, Resource, Result, Timestamp, validate_labels};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::tx::{Read, Table, WriteTx};
use crate::{namespaces, records, row};

/// The leases of the database. Making and filling one is relaxed: it only matters together with what it holds. Its end is
/// durable: a lease that comes back would keep what it holds for ever.
pub struct Leases {
    pub(crate) db: Arc<Db>,
    pub(crate) activity: Arc<Activity>,
}

fn absent(id: &str) -> Error {
    Error::NotFound(format!("lease {id:?}"))
}

fn require(tx: &dyn Read, ctx: &Ctx, id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(absent(id));
    }
    records::find::<Lease>(tx, Table::Leases, ctx, id)?
        .map(|_| ())
        .ok_or_else(|| absent(id))
}

fn resource_key(ctx: &Ctx, lease: &str, resource: &Resource) -> Result<Vec<u8>> {
    row::key(&[&ctx.namespace, lease, &resource.kind, &resource.id])
}

/// Puts something under the lease of a call, if it has one.
pub(crate) fn hold(tx: &mut WriteTx, ctx: &Ctx, resource: Resource) -> Result<()> {
    let Some(lease) = &ctx.lease else { return Ok(()) };
    if records::find::<Lease>(tx, Table::Leases, ctx, lease)?.is_none() {
        return Err(Error::NotFound("lease does not exist".into()));
    }
    tx.put(Table::Resources, &resource_key(ctx, lease, &resource)?, b"")
}

/// Takes something from the lease of a call, if it has one.
pub(crate) fn release(tx: &mut WriteTx, ctx: &Ctx, resource: &Resource) -> Result<()> {
    let Some(lease) = &ctx.lease else { return Ok(()) };
    tx.delete(Table::Resources, &resource_key(ctx, lease, resource)?)
        .map(|_| ())
}

/// What a lease holds.
pub(crate) fn held(tx: &dyn Read, ctx: &Ctx, lease: &str) -> Result<Vec<Resource>> {
    let mut found = Vec::new();
    tx.scan(
        Table::Resources,
        &row::prefix(&[&ctx.namespace, lease])?,
        &mut |key, _| {
            if let [kind, id] = row::names(key)?[..] {
                found.push(Resource {
                    kind: kind.to_owned(),
                    id: id.to_owned(),
                });
            }
            Ok(true)
        },
    )?;
    Ok(found)
}

fn validate(resource: &Resource) -> Result<()> {
    let Resource { kind, id } = resource;
    let parts: Vec<_> = kind.split('/').collect();
    match parts[..] {
        ["content"] => Digest::parse(id).map(|_| ()).map_err(|e| {
            Error::InvalidArgument(format!(
                "invalid content resource id {id}: {}",
                e.to_string().replace(": invalid argument", "")
            ))
        }),
        ["ingests" | "images"] | ["snapshots", _] => Ok(()),
        ["content" | "ingests" | "images", ..] => Err(Error::InvalidArgument(format!("invalid resource type {kind}"))),
        ["snapshots", ..] => Err(Error::InvalidArgument(format!("invalid snapshot resource type {kind}"))),
        _ => Err(Error::Unimplemented(format!("resource type {kind} not supported yet"))),
    }
}

impl LeaseStore for Leases {
    fn create(&self, ctx: &Ctx, id: &str, labels: &Labels) -> Result<Lease> {
        if id.is_empty() {
            return Err(Error::InvalidArgument("lease id must be provided".into()));
        }
        validate_labels(labels)?;
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        let lease = Lease {
            id: id.to_owned(),
            created_at: Timestamp::now(),
            labels,
        };
        let ctx = ctx.clone();
        let made = self.db.write(Durability::Relaxed, move |tx| {
            namespaces::ensure(tx, &ctx.namespace)?;
            if records::find::<Lease>(tx, Table::Leases, &ctx, &lease.id)?.is_some() {
                return Err(Error::AlreadyExists(format!("lease {:?}", lease.id)));
            }
            records::store(tx, Table::Leases, &ctx, &lease.id, &lease)?;
            Ok(lease)
        })?;
        self.activity.changed();
        Ok(made)
    }

    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()> {
        let (ctx, id) = (ctx.clone(), id.to_owned());
        self.db.write(Durability::Durable, move |tx| {
            records::remove(tx, Table::Leases, &ctx, &id, &format!("lease {id:?}"))?;
            tx.delete_prefix(Table::Resources, &row::prefix(&[&ctx.namespace, &id])?)
        })?;
        self.activity.deleted();
        Ok(())
    }

    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Lease>> {
        records::list(&self.db.read()?, Table::Leases, ctx, filters)
    }

    fn add_resource(&self, ctx: &Ctx, lease: &str, resource: &Resource) -> Result<()> {
        let (ctx, lease, resource) = (ctx.clone(), lease.to_owned(), resource.clone());
        self.db.write(Durability::Relaxed, move |tx| {
            require(tx, &ctx, &lease)?;
            validate(&resource)?;
            tx.put(Table::Resources, &resource_key(&ctx, &lease, &resource)?, b"")
        })?;
        self.activity.changed();
        Ok(())
    }

    fn delete_resource(&self, ctx: &Ctx, lease: &str, resource: &Resource) -> Result<()> {
        let (ctx, lease, resource) = (ctx.clone(), lease.to_owned(), resource.clone());
        self.db.write(Durability::Relaxed, move |tx| {
            require(tx, &ctx, &lease)?;
            validate(&resource)?;
            tx.delete(Table::Resources, &resource_key(&ctx, &lease, &resource)?)
                .map(|_| ())
        })?;
        self.activity.deleted();
        Ok(())
    }

    fn resources(&self, ctx: &Ctx, lease: &str) -> Result<Vec<Resource>> {
        let tx = self.db.read()?;
        require(&tx, ctx, lease)?;
        held(&tx, ctx, lease)
    }
}
