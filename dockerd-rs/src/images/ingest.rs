//! Blobs on their way into the content store.

use std::collections::HashMap;

use bytes::Bytes;
use containerd_proto::containerd::services::content::v1::{
    AbortRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

use super::store::Store;
use crate::error::{Error, Result};

/// Bytes gathered before they are sent.
const CHUNK: usize = 512 * 1024;
/// Chunks sent and not yet answered.
const IN_FLIGHT: usize = 4;
/// How long the server may take to close.
const CLOSE: std::time::Duration = std::time::Duration::from_secs(5);
/// How often, and how long between, a reference that another writer holds is tried.
const LOCKED: (u32, std::time::Duration) = (600, std::time::Duration::from_millis(200));

/// What opening an ingest comes to.
pub(crate) enum Opened {
    /// Write from [`Writer::offset`] on.
    Writer(Box<Writer>),
    /// The blob is there.
    Exists,
}

/// One blob being written. Dropped before [`Writer::commit`], it stays behind as a partial ingest: abort its reference, when
/// the server has let go of it ([`Store::closing`]).
pub(crate) struct Writer {
    /// Both are there until the writer is dropped.
    requests: Option<mpsc::Sender<WriteContentRequest>>,
    replies: Option<Streaming<WriteContentResponse>>,
    closing: TaskTracker,
    reference: String,
    /// Bytes accepted so far.
    offset: u64,
    pending: usize,
    buffer: Vec<u8>,
}

impl Writer {
    /// Opens the ingest `reference`. With an `expected` digest the blob may turn out to exist. Waits while another writer,
    /// in this process or not, holds the reference.
    pub(crate) async fn open(store: &Store, reference: &str, total: u64, expected: &str) -> Result<Opened> {
        let mut tries = 0;
        loop {
            match Self::begin(store, reference, total, expected).await {
                Ok(writer) => return Ok(Opened::Writer(Box::new(writer))),
                Err(status) if status.code() == Code::AlreadyExists => return Ok(Opened::Exists),
                Err(status) if status.code() == Code::Unavailable && tries < LOCKED.0 => tries += 1,
                Err(status) => return Err(Error::from(status).context(format!("opening ingest {reference}"))),
            }
            tokio::time::sleep(LOCKED.1).await;
        }
    }

    async fn begin(store: &Store, reference: &str, total: u64, expected: &str) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(IN_FLIGHT + 1);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total: i64::try_from(total).unwrap_or(0),
            expected: expected.to_owned(),
            ..WriteContentRequest::default()
        };
        // The server's first words come after the first request: it has to be there before the call.
        requests.try_send(first).map_err(|e| Status::internal(e.to_string()))?;
        let mut replies = store
            .l3
            .content()
            .write(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let reply = replies
            .message()
            .await?
            .ok_or_else(|| Status::internal("no answer to a content write"))?;
        let offset = u64::try_from(reply.offset).unwrap_or(0);
        let (pending, buffer) = (0, Vec::new());
        let (requests, replies, closing) = (Some(requests), Some(replies), store.closing.clone());
        Ok(Self {
            requests,
            replies,
            closing,
            reference: reference.to_owned(),
            offset,
            pending,
            buffer,
        })
    }

    /// Where the next byte goes: not zero for an ingest that was left behind by a daemon that died.
    pub(crate) fn offset(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::take(&mut self.buffer);
        let length = data.len() as u64;
        let request = WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: self.reference.clone(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data,
            ..WriteContentRequest::default()
        };
        self.send(request).await?;
        self.offset += length;
        while self.pending >= IN_FLIGHT {
            self.reply().await?;
        }
        Ok(())
    }

    async fn send(&mut self, request: WriteContentRequest) -> Result<()> {
        self.pending += 1;
        if let Some(requests) = &self.requests
            && requests.send(request).await.is_ok()
        {
            return Ok(());
        }
        // The stream is closed: its last reply says why.
        self.reply().await?;
        Err(self.failed("the stream was closed"))
    }

    async fn reply(&mut self) -> Result<WriteContentResponse> {
        let reply = self.message().await.map_err(|status| self.status(&status))?;
        self.pending = self.pending.saturating_sub(1);
        reply.ok_or_else(|| self.failed("the stream ended"))
    }

    async fn message(&mut self) -> Result<Option<WriteContentResponse>, Status> {
        match &mut self.replies {
            Some(replies) => replies.message().await,
            None => Ok(None),
        }
    }

    fn status(&self, status: &Status) -> Error {
        Error::from(status.clone()).context(format!("writing {}", self.reference))
    }

    fn failed(&self, why: &str) -> Error {
        Error::failed(format!("writing {}", self.reference), why)
    }

    /// Makes a blob of what was written, of `expected` digest when that is not empty. Returns its digest.
    pub(crate) async fn commit(mut self, expected: &str, labels: HashMap<String, String>) -> Result<String> {
        self.flush().await?;
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: self.reference.clone(),
            total: i64::try_from(self.offset).unwrap_or(i64::MAX),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            expected: expected.to_owned(),
            labels,
            ..WriteContentRequest::default()
        };
        self.send(request).await?;
        loop {
            match self.message().await {
                Ok(Some(reply)) if reply.action == i32::from(WriteAction::Commit) => return Ok(reply.digest),
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.failed("the stream ended before the commit was answered")),
                // Somebody else has brought the same bytes meanwhile.
                Err(status) if status.code() == Code::AlreadyExists && !expected.is_empty() => {
                    return Ok(expected.to_owned());
                }
                Err(status) => return Err(self.status(&status)),
            }
        }
    }
}

impl Drop for Writer {
    /// Ends the stream in order and waits, elsewhere, until the server has done so too: it writes to the ingest's directory
    /// for the last time when it closes, and an abort that came before would leave that behind.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(mut replies) = self.replies.take() {
            self.closing.spawn(async move {
                let drain = async { while let Ok(Some(_)) = replies.message().await {} };
                // A server that hangs is not waited for.
                let _ = tokio::time::timeout(CLOSE, drain).await;
            });
        }
    }
}

/// Drops a partial ingest, if there is one.
pub(crate) async fn abort(store: &Store, reference: &str) {
    let request = AbortRequest {
        r#ref: reference.to_owned(),
    };
    match store.l3.content().abort(request).await {
        Err(status) if status.code() != Code::NotFound => {
            tracing::warn!(reference, error = status.message(), "partial ingest stays behind");
        }
        _ => {}
    }
}

/// Writes a small blob whose bytes are at hand.
pub(crate) async fn put(
    store: &Store,
    reference: &str,
    digest: &str,
    bytes: &Bytes,
    labels: HashMap<String, String>,
) -> Result<()> {
    match Writer::open(store, reference, bytes.len() as u64, digest).await? {
        Opened::Exists => store.set_labels(digest, labels).await,
        Opened::Writer(writer) if writer.offset() > 0 => {
            drop(writer);
            abort(store, reference).await;
            match Writer::open(store, reference, bytes.len() as u64, digest).await? {
                Opened::Exists => store.set_labels(digest, labels).await,
                Opened::Writer(writer) => put_rest(writer, digest, bytes, labels).await,
            }
        }
        Opened::Writer(writer) => put_rest(writer, digest, bytes, labels).await,
    }
}

async fn put_rest(mut writer: Box<Writer>, digest: &str, bytes: &Bytes, labels: HashMap<String, String>) -> Result<()> {
    writer.write(bytes).await?;
    writer.commit(digest, labels).await.map(|_| ())
}
