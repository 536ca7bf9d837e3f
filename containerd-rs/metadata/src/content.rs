//! Content as a namespace sees it: which blobs it has, with which labels, over one blob store that all share.
//!
//! A blob that another namespace has need not be sent again ("shared" policy, containerd's default): an ingest that names its
//! digest is complete at once, and its commit only writes the record.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use containerd_rs_core::filter::Filters;
use containerd_rs_core::{
    BlobReader, BlobStore, ContentInfo, ContentManager, ContentProvider, ContentWriter, Ctx, Digest, Error,
    IngestStatus, Ingester, Resource, Result, Timestamp, WriterRequest, fields, validate_labels,
};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::row::{self, IngestRow};
use crate::tx::{Read, Table, WriteTx};
use crate::writer::NamespacedWriter;
use crate::{leases, namespaces, records};

/// How long an ingest without a lease may lie about, as in containerd.
const STALE_SECONDS: i64 = 24 * 3600;

/// The content of the database.
#[derive(Clone)]
pub struct Content {
    pub(crate) db: Arc<Db>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) activity: Arc<Activity>,
    /// Read: somebody relies on a blob that is there. Write: the collector removes one that nobody has.
    pub(crate) gate: Arc<RwLock<()>>,
    /// Blobs that lost a row, or never got one: the next collection asks whether anybody has them.
    pub(crate) doubtful: Arc<Mutex<BTreeSet<Digest>>>,
}

pub(crate) fn absent(digest: &Digest) -> Error {
    Error::NotFound(format!("content digest {digest}"))
}

fn no_ingest(reference: &str) -> Error {
    Error::NotFound(format!("reference {reference}"))
}

pub(crate) fn content_resource(digest: &Digest) -> Resource {
    Resource {
        kind: "content".into(),
        id: digest.to_string(),
    }
}

pub(crate) fn ingest_resource(reference: &str) -> Resource {
    Resource {
        kind: "ingests".into(),
        id: reference.to_owned(),
    }
}

/// The blob store's name for an ingest; a namespace has no slash, so no two can meet.
pub(crate) fn backend_ref(namespace: &str, reference: &str) -> String {
    format!("{namespace}/{reference}")
}

pub(crate) fn find(tx: &dyn Read, ctx: &Ctx, digest: &Digest) -> Result<Option<ContentInfo>> {
    records::find(tx, Table::Blobs, ctx, digest.as_str())
}

/// Whether any namespace has the blob, or is about to.
pub(crate) fn wanted(tx: &dyn Read, digest: &Digest) -> Result<bool> {
    for namespace in namespaces::all(tx)? {
        if tx
            .get(Table::Blobs, &row::key(&[&namespace.name, digest.as_str()])?)?
            .is_some()
        {
            return Ok(true);
        }
    }
    let mut shared = false;
    tx.scan(Table::Ingests, b"", &mut |_, value| {
        shared |= row::decode::<IngestRow>(value)?.shared.as_ref() == Some(digest);
        Ok(!shared)
    })?;
    Ok(shared)
}

impl Content {
    /// Has the next collection look at a blob.
    pub(crate) fn doubt(&self, digest: Digest) {
        self.doubtful
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest);
        self.activity.deleted();
    }

    /// Records an ingest; answers with the blob of another namespace that serves for it, if there is one.
    fn begin(&self, ctx: &Ctx, request: &WriterRequest) -> Result<Option<ContentInfo>> {
        let shared = request
            .expected
            .as_ref()
            .and_then(|digest| self.blobs.info(digest).ok());
        let shared = shared.filter(|info| request.total == 0 || request.total == info.size);
        let row = IngestRow {
            shared: shared.as_ref().map(|info| info.digest.clone()),
            expires: ctx
                .lease
                .is_none()
                .then(|| Timestamp::now().plus_seconds(STALE_SECONDS)),
        };
        let (ctx, request) = (ctx.clone(), request.clone());
        let exists = self.db.write(Durability::Relaxed, move |tx| {
            if let Some(digest) = &request.expected
                && find(tx, &ctx, digest)?.is_some()
            {
                leases::hold(tx, &ctx, content_resource(digest))?;
                return Ok(request.expected);
            }
            namespaces::ensure(tx, &ctx.namespace)?;
            leases::hold(tx, &ctx, ingest_resource(&request.reference))?;
            records::store(tx, Table::Ingests, &ctx, &request.reference, &row)?;
            Ok(None)
        })?;
        match exists {
            Some(digest) => Err(Error::AlreadyExists(format!("content {digest}"))),
            None => Ok(shared),
        }
    }
}

/// Makes a blob visible in a namespace, and ends its ingest.
///
/// # Errors
/// `AlreadyExists` inside the answer when the namespace has it: the lease and the end of the ingest hold then too.
pub(crate) fn admit(tx: &mut WriteTx, ctx: &Ctx, reference: &str, info: &ContentInfo) -> Result<Result<()>> {
    tx.delete(Table::Ingests, &row::key(&[&ctx.namespace, reference])?)?;
    leases::release(tx, ctx, &ingest_resource(reference))?;
    leases::hold(tx, ctx, content_resource(&info.digest))?;
    if find(tx, ctx, &info.digest)?.is_some() {
        return Ok(Err(Error::AlreadyExists(format!("content {}", info.digest))));
    }
    namespaces::ensure(tx, &ctx.namespace)?;
    records::store(tx, Table::Blobs, ctx, info.digest.as_str(), info)?;
    Ok(Ok(()))
}

impl ContentProvider for Content {
    fn info(&self, ctx: &Ctx, digest: &Digest) -> Result<ContentInfo> {
        find(&self.db.read()?, ctx, digest)?.ok_or_else(|| absent(digest))
    }

    fn reader(&self, ctx: &Ctx, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        self.info(ctx, digest)?;
        self.blobs.reader(digest)
    }
}

impl ContentManager for Content {
    fn update(&self, ctx: &Ctx, info: &ContentInfo, fields: &[String]) -> Result<ContentInfo> {
        let (ctx, from, fields) = (ctx.clone(), info.clone(), fields.to_vec());
        let updated = self.db.write(Durability::Relaxed, move |tx| {
            let mut into = find(tx, &ctx, &from.digest)?.ok_or_else(|| absent(&from.digest))?;
            let what = format!("content info {:?}", from.digest.as_str());
            fields::update_labels(&mut into.labels, &from.labels, &fields, &what)?;
            validate_labels(&into.labels)?;
            into.updated_at = Timestamp::now();
            records::store(tx, Table::Blobs, &ctx, into.digest.as_str(), &into)?;
            Ok(into)
        })?;
        self.activity.changed();
        Ok(updated)
    }

    fn walk(&self, ctx: &Ctx, filters: &[String], each: &mut dyn FnMut(ContentInfo) -> Result<()>) -> Result<()> {
        records::list(&self.db.read()?, Table::Blobs, ctx, filters)?
            .into_iter()
            .try_for_each(each)
    }

    fn delete(&self, ctx: &Ctx, digest: &Digest) -> Result<()> {
        let (ctx, owned) = (ctx.clone(), digest.clone());
        self.db.write(Durability::Relaxed, move |tx| {
            records::remove(
                tx,
                Table::Blobs,
                &ctx,
                owned.as_str(),
                &format!("content digest {owned}"),
            )?;
            leases::release(tx, &ctx, &content_resource(&owned))
        })?;
        self.doubt(digest.clone());
        Ok(())
    }
}

impl Ingester for Content {
    fn writer(&self, ctx: &Ctx, request: &WriterRequest) -> Result<Box<dyn ContentWriter>> {
        if request.reference.is_empty() {
            return Err(Error::InvalidArgument("ref must not be empty".into()));
        }
        let _gate = self.gate.read();
        let shared = self.begin(ctx, request)?;
        self.activity.changed();
        Ok(Box::new(NamespacedWriter::open(
            self.clone(),
            ctx.clone(),
            request.clone(),
            shared,
        )?))
    }

    fn status(&self, ctx: &Ctx, reference: &str) -> Result<IngestStatus> {
        let row = records::find::<IngestRow>(&self.db.read()?, Table::Ingests, ctx, reference)?;
        row.ok_or_else(|| no_ingest(reference))?;
        let status = self.blobs.status(&backend_ref(&ctx.namespace, reference))?;
        Ok(IngestStatus {
            reference: reference.to_owned(),
            ..status
        })
    }

    fn statuses(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<IngestStatus>> {
        let filters = Filters::parse(filters)?;
        let mut references = Vec::new();
        self.db
            .read()?
            .scan(Table::Ingests, &row::prefix(&[&ctx.namespace])?, &mut |key, _| {
                references.push(row::name(key)?.to_owned());
                Ok(true)
            })?;
        let mut found = Vec::new();
        for reference in references {
            match self.blobs.status(&backend_ref(&ctx.namespace, &reference)) {
                Ok(status) => found.push(IngestStatus { reference, ..status }),
                // Shared, or committed while we look.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        found.retain(|status| filters.matches(status));
        Ok(found)
    }

    fn abort(&self, ctx: &Ctx, reference: &str) -> Result<()> {
        let (owned, name) = (ctx.clone(), reference.to_owned());
        self.db.write(Durability::Relaxed, move |tx| {
            records::remove(tx, Table::Ingests, &owned, &name, &format!("reference {name}"))?;
            leases::release(tx, &owned, &ingest_resource(&name))
        })?;
        match self.blobs.abort(&backend_ref(&ctx.namespace, reference)) {
            // A shared ingest has no bytes.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}
