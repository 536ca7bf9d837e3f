//! A writer of a namespace: over an ingest of the blob store, or over a blob that another namespace has.

use containerd_rs_core::{
    ContentInfo, ContentWriter, Ctx, Digest, Error, IngestStatus, Labels, Result, Timestamp, WriterRequest,
    validate_labels,
};

use crate::content::{Content, admit, backend_ref};
use crate::db::Durability;

pub(crate) struct NamespacedWriter {
    content: Content,
    ctx: Ctx,
    request: WriterRequest,
    state: State,
}

enum State {
    /// Bytes of its own.
    Own(Box<dyn ContentWriter>),
    /// A blob that is there; a write makes a copy first.
    Shared(ContentInfo, Timestamp),
}

/// The backend must not look for the expected digest: whether the namespace has it was asked already.
fn open_own(content: &Content, ctx: &Ctx, request: &WriterRequest) -> Result<Box<dyn ContentWriter>> {
    let reference = backend_ref(&ctx.namespace, &request.reference);
    // A digest of another kind than SHA-256 decides how the bytes are hashed, and is not there (else it were shared).
    let expected = request
        .expected
        .clone()
        .filter(|digest| content.blobs.info(digest).is_err());
    content.blobs.writer(&WriterRequest {
        reference,
        total: request.total,
        expected,
    })
}

impl NamespacedWriter {
    pub(crate) fn open(
        content: Content,
        ctx: Ctx,
        request: WriterRequest,
        shared: Option<ContentInfo>,
    ) -> Result<Self> {
        let state = match shared {
            Some(info) => State::Shared(info, Timestamp::now()),
            None => State::Own(open_own(&content, &ctx, &request)?),
        };
        Ok(NamespacedWriter {
            content,
            ctx,
            request,
            state,
        })
    }

    /// Begins bytes of its own, with a copy of the shared blob.
    fn own(&mut self, copy: bool) -> Result<&mut Box<dyn ContentWriter>> {
        if let State::Shared(info, _) = &self.state {
            let mut writer = open_own(&self.content, &self.ctx, &self.request)?;
            writer.truncate(0)?;
            if copy {
                let reader = self.content.blobs.reader(&info.digest)?;
                let mut buffer = vec![0; 256 << 10];
                let mut offset = 0;
                loop {
                    let n = reader.read_at(&mut buffer, offset)?;
                    if n == 0 {
                        break;
                    }
                    writer.write(&buffer[..n])?;
                    offset += n as u64;
                }
            }
            self.state = State::Own(writer);
        }
        match &mut self.state {
            State::Own(writer) => Ok(writer),
            State::Shared(..) => Err(Error::Internal(format!("ref {} has no bytes", self.request.reference))),
        }
    }
}

/// Ends the bytes, and answers with what is known of the blob; the blob is there then, whoever brought it.
fn seal(state: State, request: &WriterRequest, size: u64, expected: Option<&Digest>) -> Result<(Digest, u64)> {
    let reference = &request.reference;
    match state {
        State::Shared(info, _) => {
            if size != 0 && size != info.size {
                let text = format!("{reference:?} failed size validation: {} != {size}", info.size);
                return Err(Error::FailedPrecondition(text));
            }
            if let Some(expected) = expected.filter(|expected| **expected != info.digest) {
                let text = format!("{reference:?} unexpected digest {}, expected {expected}", info.digest);
                return Err(Error::FailedPrecondition(text));
            }
            Ok((info.digest, info.size))
        }
        State::Own(writer) => {
            let (offset, digest) = (writer.status().offset, writer.digest()?);
            if size != 0 && size != offset {
                let text = format!("{reference:?} failed size validation: {offset} != {size}");
                return Err(Error::FailedPrecondition(text));
            }
            match writer.commit(size, expected, &Labels::new()) {
                Err(error) if error.is_already_exists() => Ok((digest, offset)),
                other => other.map(|digest| (digest, offset)),
            }
        }
    }
}

impl ContentWriter for NamespacedWriter {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.own(true)?.write(data)
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.own(false)?.truncate(size)
    }

    fn status(&self) -> IngestStatus {
        let reference = self.request.reference.clone();
        match &self.state {
            State::Own(writer) => IngestStatus {
                reference,
                expected: self.request.expected.clone(),
                ..writer.status()
            },
            State::Shared(info, at) => IngestStatus {
                reference,
                offset: info.size,
                total: info.size,
                expected: Some(info.digest.clone()),
                started_at: *at,
                updated_at: *at,
            },
        }
    }

    fn digest(&self) -> Result<Digest> {
        match &self.state {
            State::Own(writer) => writer.digest(),
            State::Shared(info, _) => Ok(info.digest.clone()),
        }
    }

    fn commit(self: Box<Self>, size: u64, expected: Option<&Digest>, labels: &Labels) -> Result<Digest> {
        validate_labels(labels)?;
        let NamespacedWriter {
            content,
            ctx,
            request,
            state,
        } = *self;
        // While we hold the gate the collector removes no blob that is not yet in the database.
        let _gate = content.gate.read();
        let (digest, size) = seal(state, &request, size, expected)?;
        content.blobs.info(&digest)?;
        let now = Timestamp::now();
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let info = ContentInfo {
            digest: digest.clone(),
            size,
            created_at: now,
            updated_at: now,
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        let admitted = content.db.write(Durability::Relaxed, move |tx| {
            admit(tx, &ctx, &request.reference, &info)
        });
        if admitted.is_err() {
            content.doubt(digest.clone());
        }
        content.activity.changed();
        admitted?.map(|()| digest)
    }
}
