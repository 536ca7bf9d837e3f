//! What images, containers, sandboxes and leases have in common: one row by one name in a namespace.

use containerd_rs_core::filter::{Adaptor, Filters};
use containerd_rs_core::{Ctx, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::row::{self, decode, encode};
use crate::tx::{Read, Table, WriteTx};

/// One record, if it is there.
pub(crate) fn find<T: DeserializeOwned>(tx: &dyn Read, table: Table, ctx: &Ctx, name: &str) -> Result<Option<T>> {
    tx.get(table, &row::key(&[&ctx.namespace, name])?)?
        .map(|bytes| decode(&bytes))
        .transpose()
}

/// All records of a namespace that match one of the filters.
pub(crate) fn list<T: DeserializeOwned + Adaptor>(
    tx: &dyn Read,
    table: Table,
    ctx: &Ctx,
    filters: &[String],
) -> Result<Vec<T>> {
    let filters = Filters::parse(filters)?;
    let mut found = Vec::new();
    tx.scan(table, &row::prefix(&[&ctx.namespace])?, &mut |_, value| {
        let record: T = decode(value)?;
        if filters.matches(&record) {
            found.push(record);
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Stores a record under its name.
pub(crate) fn store<T: Serialize>(tx: &mut WriteTx, table: Table, ctx: &Ctx, name: &str, record: &T) -> Result<()> {
    tx.put(table, &row::key(&[&ctx.namespace, name])?, &encode(record)?)
}

/// Removes a record.
pub(crate) fn remove(tx: &mut WriteTx, table: Table, ctx: &Ctx, name: &str, what: &str) -> Result<()> {
    if tx.delete(table, &row::key(&[&ctx.namespace, name])?)? {
        Ok(())
    } else {
        Err(Error::NotFound(what.to_owned()))
    }
}
