//! Snapshots: names, parents and labels in the database, directories in a layer store.
//!
//! A directory is made before its row and removed after it, so a crash leaves at most a directory without a row, which the
//! next start removes; a row never lacks its directory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use containerd_rs_core::{
    Ctx, Error, LABEL_SNAPSHOT_REF, Labels, LayerRef, LayerStore, Mount, Resource, Result, SnapshotInfo, SnapshotKind,
    Snapshotter, Timestamp, Usage, fields, filter::Filters, validate_labels,
};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::row::{self, SnapshotRow, decode, encode};
use crate::tx::{Read, Table, WriteTx};
use crate::{leases, namespaces};

/// The snapshots of the database over one layer store.
pub struct Snapshots {
    pub(crate) db: Arc<Db>,
    pub(crate) layers: Arc<dyn LayerStore>,
    pub(crate) activity: Arc<Activity>,
    next: AtomicU64,
    /// Numbers whose directories are there and whose rows are still to come.
    coming: Mutex<BTreeSet<u64>>,
}

fn absent(key: &str) -> Error {
    Error::NotFound(format!("snapshot {key} does not exist"))
}

fn exists(key: &str) -> Error {
    Error::AlreadyExists(format!("snapshot {key:?}"))
}

/// Where the rows of one snapshotter in one namespace are.
#[derive(Clone)]
struct Space {
    ctx: Ctx,
    snapshotter: String,
}

impl Space {
    fn key(&self, name: &str) -> Result<Vec<u8>> {
        row::key(&[&self.ctx.namespace, &self.snapshotter, name])
    }

    fn child_key(&self, parent: &str, name: &str) -> Result<Vec<u8>> {
        row::key(&[&self.ctx.namespace, &self.snapshotter, parent, name])
    }

    fn find(&self, tx: &dyn Read, name: &str) -> Result<Option<SnapshotRow>> {
        tx.get(Table::Snapshots, &self.key(name)?)?
            .map(|bytes| decode(&bytes))
            .transpose()
    }

    fn get(&self, tx: &dyn Read, name: &str) -> Result<SnapshotRow> {
        self.find(tx, name)?.ok_or_else(|| absent(name))
    }

    fn put(&self, tx: &mut WriteTx, row: &SnapshotRow) -> Result<()> {
        tx.put(Table::Snapshots, &self.key(&row.info.name)?, &encode(row)?)?;
        if row.info.parent.is_empty() {
            return Ok(());
        }
        tx.put(Table::Children, &self.child_key(&row.info.parent, &row.info.name)?, b"")
    }

    fn delete(&self, tx: &mut WriteTx, info: &SnapshotInfo) -> Result<()> {
        tx.delete(Table::Snapshots, &self.key(&info.name)?)?;
        if !info.parent.is_empty() {
            tx.delete(Table::Children, &self.child_key(&info.parent, &info.name)?)?;
        }
        Ok(())
    }

    /// The numbers of the parents, the nearest first.
    fn parents(&self, tx: &dyn Read, parent: &str) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        let mut next = parent.to_owned();
        while !next.is_empty() {
            let found = self.find(tx, &next)?;
            let row = found.ok_or_else(|| Error::NotFound(format!("parent snapshot {next} does not exist")))?;
            if row.info.kind != SnapshotKind::Committed {
                return Err(Error::InvalidArgument(format!(
                    "parent {next:?} is not committed snapshot"
                )));
            }
            ids.push(row.id);
            next = row.info.parent;
        }
        Ok(ids)
    }

    fn hold(&self, tx: &mut WriteTx, key: &str) -> Result<()> {
        let kind = format!("snapshots/{}", self.snapshotter);
        leases::hold(
            tx,
            &self.ctx,
            Resource {
                kind,
                id: key.to_owned(),
            },
        )
    }

    /// What stands in the way of a new snapshot. It is put under the lease, since the caller will use it.
    fn taken(&self, tx: &mut WriteTx, key: &str, labels: &Labels) -> Result<Option<Error>> {
        if let Some(target) = labels.get(LABEL_SNAPSHOT_REF).filter(|target| !target.is_empty())
            && self.find(tx, target)?.is_some()
        {
            self.hold(tx, target)?;
            return Ok(Some(Error::AlreadyExists(format!("target snapshot {target:?}"))));
        }
        if self.find(tx, key)?.is_some() {
            self.hold(tx, key)?;
            return Ok(Some(exists(key)));
        }
        Ok(None)
    }
}

impl Snapshots {
    /// Opens the snapshots of a layer store, and removes directories that have no row.
    pub(crate) fn open(db: Arc<Db>, layers: Arc<dyn LayerStore>, activity: Arc<Activity>) -> Result<Self> {
        let opened = Snapshots {
            db,
            layers,
            activity,
            next: AtomicU64::new(1),
            coming: Mutex::default(),
        };
        let highest = opened
            .rows()?
            .into_iter()
            .chain(opened.layers.list()?)
            .max()
            .unwrap_or(0);
        opened.next.store(highest + 1, Ordering::Relaxed);
        opened.sweep()?;
        Ok(opened)
    }

    fn space(&self, ctx: &Ctx) -> Space {
        Space {
            ctx: ctx.clone(),
            snapshotter: self.layers.name().to_owned(),
        }
    }

    /// The numbers of all rows of this snapshotter, whatever the namespace.
    fn rows(&self) -> Result<BTreeSet<u64>> {
        let mut ids = BTreeSet::new();
        self.db.read()?.scan(Table::Snapshots, b"", &mut |key, value| {
            if row::names(key)?.get(1).copied() == Some(self.layers.name()) {
                ids.insert(decode::<SnapshotRow>(value)?.id);
            }
            Ok(true)
        })?;
        Ok(ids)
    }

    /// Removes directories without a row.
    fn sweep(&self) -> Result<()> {
        // Listed first: what is made after this is not looked at, and what is on its way is known.
        let there = self.layers.list()?;
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = self.rows()?;
        there
            .iter()
            .filter(|id| !rows.contains(id) && !coming.contains(id))
            .try_for_each(|id| self.layers.remove(*id))
    }

    fn create(&self, ctx: &Ctx, kind: SnapshotKind, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        if key.is_empty() {
            return Err(Error::InvalidArgument("snapshot key must not be empty".into()));
        }
        validate_labels(labels)?;
        let space = self.space(ctx);
        let tx = self.db.read()?;
        let wanted = labels.get(LABEL_SNAPSHOT_REF).map_or("", String::as_str);
        if space.find(&tx, key)?.is_some() || (!wanted.is_empty() && space.find(&tx, wanted)?.is_some()) {
            drop(tx);
            let (key, labels) = (key.to_owned(), labels.clone());
            let taken = self
                .db
                .write(Durability::Relaxed, move |tx| space.taken(tx, &key, &labels))?;
            return Err(taken.unwrap_or_else(|| Error::Unavailable("snapshot went away meanwhile".into())));
        }
        let parents = space.parents(&tx, parent)?;
        drop(tx);

        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let layer = LayerRef {
            id,
            parents: &parents,
            kind,
        };
        self.coming.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        let made = self
            .layers
            .create(layer)
            .and_then(|()| self.record(space, layer, key, parent, labels));
        let made = made.and_then(|()| self.layers.mounts(layer));
        if made.is_err()
            && let Err(error) = self.layers.remove(id)
        {
            tracing::warn!(%error, id, "the directory of a snapshot that was not made stays until the next clean-up");
        }
        self.coming.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.activity.changed();
        made
    }

    /// Writes the row, if key and parent are still as they were when the directories were made.
    fn record(&self, space: Space, layer: LayerRef<'_>, key: &str, parent: &str, labels: &Labels) -> Result<()> {
        let now = Timestamp::now();
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let info = SnapshotInfo {
            name: key.to_owned(),
            parent: parent.to_owned(),
            kind: layer.kind,
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            created_at: now,
            updated_at: now,
        };
        let row = SnapshotRow {
            info,
            id: layer.id,
            usage: Usage::default(),
        };
        let parents = layer.parents.to_vec();
        let taken = self.db.write(Durability::Relaxed, move |tx| {
            if let Some(taken) = space.taken(tx, &row.info.name, &row.info.labels)? {
                return Ok(Some(taken));
            }
            if space.parents(tx, &row.info.parent)? != parents {
                return Err(Error::Unavailable(format!(
                    "parent snapshot {} changed meanwhile",
                    row.info.parent
                )));
            }
            namespaces::ensure(tx, &space.ctx.namespace)?;
            space.hold(tx, &row.info.name)?;
            space.put(tx, &row)?;
            Ok(None)
        })?;
        taken.map_or(Ok(()), Err)
    }
}

impl Snapshotter for Snapshots {
    fn stat(&self, ctx: &Ctx, key: &str) -> Result<SnapshotInfo> {
        Ok(self.space(ctx).get(&self.db.read()?, key)?.info)
    }

    fn update(&self, ctx: &Ctx, info: &SnapshotInfo, fields: &[String]) -> Result<SnapshotInfo> {
        let (space, from, fields) = (self.space(ctx), info.clone(), fields.to_vec());
        let updated = self.db.write(Durability::Relaxed, move |tx| {
            let mut row = space.get(tx, &from.name)?;
            let what = format!("snapshot {:?}", from.name);
            fields::update_labels(&mut row.info.labels, &from.labels, &fields, &what)?;
            validate_labels(&row.info.labels)?;
            row.info.updated_at = Timestamp::now();
            space.put(tx, &row)?;
            Ok(row.info)
        })?;
        // A label may have been the last reference to something.
        self.activity.changed();
        Ok(updated)
    }

    fn usage(&self, ctx: &Ctx, key: &str) -> Result<Usage> {
        let row = self.space(ctx).get(&self.db.read()?, key)?;
        if row.info.kind == SnapshotKind::Committed {
            Ok(row.usage)
        } else {
            self.layers.usage(row.id)
        }
    }

    fn mounts(&self, ctx: &Ctx, key: &str) -> Result<Vec<Mount>> {
        let space = self.space(ctx);
        let tx = self.db.read()?;
        let row = space.get(&tx, key)?;
        let parents = space.parents(&tx, &row.info.parent)?;
        if row.info.kind == SnapshotKind::Committed {
            return Err(Error::FailedPrecondition(format!(
                "requested snapshot {key} not active or view"
            )));
        }
        self.layers.mounts(LayerRef {
            id: row.id,
            parents: &parents,
            kind: row.info.kind,
        })
    }

    fn prepare(&self, ctx: &Ctx, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        self.create(ctx, SnapshotKind::Active, key, parent, labels)
    }

    fn view(&self, ctx: &Ctx, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        self.create(ctx, SnapshotKind::View, key, parent, labels)
    }

    fn commit(&self, ctx: &Ctx, name: &str, key: &str, labels: &Labels) -> Result<()> {
        if name.is_empty() {
            return Err(Error::InvalidArgument("snapshot name must not be empty".into()));
        }
        validate_labels(labels)?;
        let space = self.space(ctx);
        let tx = self.db.read()?;
        if space.find(&tx, name)?.is_some() {
            return Err(exists(name));
        }
        let before = space.get(&tx, key)?;
        drop(tx);
        // Measured outside of the transaction: a walk over a large layer must hold up nobody.
        let usage = self.layers.usage(before.id)?;
        let (name, key) = (name.to_owned(), key.to_owned());
        let labels: Labels = labels
            .iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let taken = self.db.write(Durability::Relaxed, move |tx| {
            if space.find(tx, &name)?.is_some() {
                space.hold(tx, &name)?;
                return Ok(Some(exists(&name)));
            }
            let old = space.get(tx, &key)?;
            if old.info.kind != SnapshotKind::Active {
                return Err(Error::FailedPrecondition(format!("snapshot {key:?} is not active")));
            }
            let now = Timestamp::now();
            let (parent, kind) = (old.info.parent.clone(), SnapshotKind::Committed);
            let info = SnapshotInfo {
                name: name.clone(),
                parent,
                kind,
                labels,
                created_at: now,
                updated_at: now,
            };
            space.delete(tx, &old.info)?;
            space.hold(tx, &name)?;
            let kind = format!("snapshots/{}", space.snapshotter);
            leases::release(tx, &space.ctx, &Resource { kind, id: key })?;
            space.put(
                tx,
                &SnapshotRow {
                    info,
                    id: old.id,
                    usage,
                },
            )?;
            Ok(None)
        })?;
        self.activity.changed();
        taken.map_or(Ok(()), Err)
    }

    fn remove(&self, ctx: &Ctx, key: &str) -> Result<()> {
        let (space, key) = (self.space(ctx), key.to_owned());
        let id = self.db.write(Durability::Relaxed, move |tx| {
            let row = space.get(tx, &key)?;
            if tx.any(
                Table::Children,
                &row::prefix(&[&space.ctx.namespace, &space.snapshotter, &key])?,
            )? {
                return Err(Error::FailedPrecondition(format!(
                    "cannot remove snapshot {key:?} with child"
                )));
            }
            space.delete(tx, &row.info)?;
            let kind = format!("snapshots/{}", space.snapshotter);
            leases::release(tx, &space.ctx, &Resource { kind, id: key })?;
            Ok(row.id)
        })?;
        self.activity.deleted();
        // The directories go when the row's end is on disk, and nobody has to wait for either.
        let layers = Arc::clone(&self.layers);
        self.db.then(move || {
            if let Err(error) = layers.remove(id) {
                tracing::warn!(%error, id, "a layer's directory stays until the next clean-up");
            }
        });
        Ok(())
    }

    fn walk(&self, ctx: &Ctx, filters: &[String], each: &mut dyn FnMut(SnapshotInfo) -> Result<()>) -> Result<()> {
        let filters = Filters::parse(filters)?;
        let mut found = Vec::new();
        let prefix = row::prefix(&[&ctx.namespace, self.layers.name()])?;
        self.db.read()?.scan(Table::Snapshots, &prefix, &mut |_, value| {
            let row: SnapshotRow = decode(value)?;
            if filters.matches(&row.info) {
                found.push(row.info);
            }
            Ok(true)
        })?;
        found.into_iter().try_for_each(each)
    }

    fn cleanup(&self, _ctx: &Ctx) -> Result<()> {
        self.db.sync()?;
        self.sweep()
    }
}
