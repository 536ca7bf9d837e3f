//! Namespaces and their labels.

use std::sync::Arc;

use containerd_rs_core::{Error, Namespace, NamespaceStore, Result, fields, validate_identifier, validate_labels};

use crate::db::{Db, Durability};
use crate::row::{self, decode, encode};
use crate::tx::{Read, Table, WriteTx};

/// The namespaces of the database.
pub struct Namespaces(pub(crate) Arc<Db>);

/// Something is stored in a namespace: from now on it is listed.
pub(crate) fn ensure(tx: &mut WriteTx, name: &str) -> Result<()> {
    if tx.get(Table::Namespaces, name.as_bytes())?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        name: name.to_owned(),
        ..Namespace::default()
    };
    tx.put(Table::Namespaces, name.as_bytes(), &encode(&namespace)?)
}

/// All namespaces of a state.
pub(crate) fn all(tx: &dyn Read) -> Result<Vec<Namespace>> {
    let mut found = Vec::new();
    tx.scan(Table::Namespaces, b"", &mut |_, value| {
        found.push(decode(value)?);
        Ok(true)
    })?;
    Ok(found)
}

/// What is still in a namespace, in containerd's words.
fn contents(tx: &dyn Read, name: &str) -> Result<Vec<String>> {
    let prefix = row::prefix(&[name])?;
    let mut found = Vec::new();
    for (table, what) in [
        (Table::Images, "images"),
        (Table::Blobs, "blobs"),
        (Table::Containers, "containers"),
    ] {
        if tx.any(table, &prefix)? {
            found.push(what.to_owned());
        }
    }
    let mut snapshotters = Vec::new();
    tx.scan(Table::Snapshots, &prefix, &mut |key, _| {
        let names = row::names(key)?;
        let snapshotter = names.first().copied().unwrap_or_default().to_owned();
        if snapshotters.last() != Some(&snapshotter) {
            snapshotters.push(snapshotter);
        }
        Ok(true)
    })?;
    found.extend(
        snapshotters
            .iter()
            .map(|name| format!("snapshots on {name:?} snapshotter")),
    );
    Ok(found)
}

impl NamespaceStore for Namespaces {
    fn get(&self, name: &str) -> Result<Namespace> {
        let bytes = self.0.read()?.get(Table::Namespaces, name.as_bytes())?;
        bytes.map_or_else(
            || Err(Error::NotFound(format!("namespace {name:?}"))),
            |bytes| decode(&bytes),
        )
    }

    fn list(&self) -> Result<Vec<Namespace>> {
        all(&self.0.read()?)
    }

    fn create(&self, namespace: &Namespace) -> Result<()> {
        validate_identifier(&namespace.name)?;
        validate_labels(&namespace.labels).map_err(|e| e.context("namespace.Labels"))?;
        let namespace = namespace.clone();
        self.0.write(Durability::Durable, move |tx| {
            let key = namespace.name.as_bytes();
            if tx.get(Table::Namespaces, key)?.is_some() {
                return Err(Error::AlreadyExists(format!("namespace {:?}", namespace.name)));
            }
            tx.put(Table::Namespaces, key, &encode(&namespace)?)
        })
    }

    fn update(&self, namespace: &Namespace, fields: &[String]) -> Result<Namespace> {
        let (from, fields) = (namespace.clone(), fields.to_vec());
        self.0.write(Durability::Durable, move |tx| {
            let key = from.name.as_bytes();
            let Some(bytes) = tx.get(Table::Namespaces, key)? else {
                return Err(Error::NotFound(format!("namespace {:?}", from.name)));
            };
            let mut into: Namespace = decode(&bytes)?;
            fields::update_labels(
                &mut into.labels,
                &from.labels,
                &fields,
                &format!("namespace {:?}", from.name),
            )?;
            validate_labels(&into.labels).map_err(|e| e.context("namespace.Labels"))?;
            tx.put(Table::Namespaces, key, &encode(&into)?)?;
            Ok(into)
        })
    }

    fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.0.write(Durability::Durable, move |tx| {
            let left = contents(tx, &name)?;
            if !left.is_empty() {
                let left = left.join(", ");
                let text = format!("namespace {name:?} must be empty, but it still has {left}");
                return Err(Error::FailedPrecondition(text));
            }
            if !tx.delete(Table::Namespaces, name.as_bytes())? {
                return Err(Error::NotFound(format!("namespace {name:?}")));
            }
            let prefix = row::prefix(&[&name])?;
            for table in [Table::Leases, Table::Resources, Table::Ingests, Table::Sandboxes] {
                tx.delete_prefix(table, &prefix)?;
            }
            Ok(())
        })
    }
}
