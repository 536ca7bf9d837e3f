//! A collection: the database first, then what only the disk still has.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use containerd_rs_core::{Digest, Result, Timestamp};

use crate::content::{backend_ref, wanted};
use crate::db::Durability;
use crate::gc::{GcReport, Plan, plan_and_delete, unreachable};
use crate::row;
use crate::tx::{Read as _, Table};
use crate::{Metadata, namespaces};

impl Metadata {
    /// Removes all that nothing refers to, and answers when it is gone from the disk. Collections wait for one another.
    ///
    /// # Errors
    /// Those of the database. What cannot be removed from the disk is logged, and tried again at the next start.
    pub fn collect(&self) -> Result<GcReport> {
        let _one = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        self.activity.reset();
        let mut report = GcReport::default();
        let plan = if unreachable(&self.db.read()?, Timestamp::now())?.is_empty() {
            Plan::default()
        } else {
            let paused = Instant::now();
            let delete = |tx: &mut crate::tx::WriteTx| plan_and_delete(tx, Timestamp::now());
            let plan = self.db.write(Durability::Durable, delete)?;
            report.pause = paused.elapsed();
            plan
        };
        for (name, id) in &plan.layers {
            let Some(snapshots) = self.snapshots.get(name) else {
                continue;
            };
            if let Err(error) = snapshots.layers.remove(*id) {
                tracing::warn!(%error, snapshotter = name, id, "a layer's directory stays");
            }
        }
        for (namespace, reference) in &plan.ingests {
            self.abort(&backend_ref(namespace, reference));
        }
        let mut blobs = plan.blobs;
        let doubtful = std::mem::take(&mut *self.content.doubtful.lock().unwrap_or_else(PoisonError::into_inner));
        if !doubtful.is_empty() {
            // The end of their rows may not be on disk yet, and must be before the end of their bytes.
            self.db.sync()?;
            blobs.extend(doubtful);
        }
        if self.whole.swap(false, Ordering::Relaxed) {
            let strays = self
                .strays()
                .inspect_err(|_| self.whole.store(true, Ordering::Relaxed))?;
            blobs.extend(strays);
        }
        for digest in blobs {
            match self.drop_blob(&digest) {
                Ok(Some(size)) => {
                    report.blobs += 1;
                    report.bytes += size;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, %digest, "a blob stays"),
            }
        }
        report.removed = plan.removed;
        report.elapsed = begun.elapsed();
        Ok(report)
    }

    fn abort(&self, reference: &str) {
        match self.content.blobs.abort(reference) {
            Err(error) if !error.is_not_found() => tracing::warn!(%error, reference, "an ingest stays"),
            _ => {}
        }
    }

    /// Removes a blob's bytes, unless somebody has it; their number.
    fn drop_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        // Nobody can begin to rely on the blob between the question and the removal.
        let _gate = self.content.gate.write();
        if wanted(&self.db.read()?, digest)? {
            return Ok(None);
        }
        let size = match self.content.blobs.info(digest) {
            Ok(info) => info.size,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.content.blobs.delete(digest)?;
        Ok(Some(size))
    }

    /// What a crash left behind: blobs no namespace has, and ingests without a row (those go at once).
    fn strays(&self) -> Result<Vec<Digest>> {
        let mut there = Vec::new();
        self.content.blobs.walk(&mut |info| {
            there.push(info.digest);
            Ok(())
        })?;
        let ingests = {
            let _gate = self.content.gate.write();
            let tx = self.db.read()?;
            let mut known = HashSet::new();
            tx.scan(Table::Ingests, b"", &mut |key, _| {
                known.insert(row::name(key)?.replacen('\0', "/", 1));
                Ok(true)
            })?;
            let mut ingests = self.content.blobs.statuses()?;
            ingests.retain(|ingest| !known.contains(&ingest.reference));
            ingests
        };
        for ingest in ingests {
            self.abort(&ingest.reference);
        }
        let tx = self.db.read()?;
        let mut had = HashSet::new();
        for namespace in namespaces::all(&tx)? {
            tx.scan(Table::Blobs, &row::prefix(&[&namespace.name])?, &mut |key, _| {
                had.insert(row::name(key)?.to_owned());
                Ok(true)
            })?;
        }
        there.retain(|digest| !had.contains(digest.as_str()));
        Ok(there)
    }
}
