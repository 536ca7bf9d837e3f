//! The body of a blob, resumed with `Range` when it breaks off.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_RANGE, RANGE};
use hyper::{Method, Response, StatusCode};

use crate::document::{self, ACCEPT as DOCUMENTS};
use crate::session::{Ask, Session};
use crate::transport::{STALL_TIMEOUT, chain};
use crate::{BlobStream, Descriptor, RegistryError, Repository};

/// How many breaks in a row are mended.
const BREAKS: u32 = 5;
/// So many bytes after a break, and the count begins anew.
const PROGRESS: u64 = 1024 * 1024;

/// The request for a descriptor's content: documents and blobs live under different paths.
pub(crate) fn ask_for(repository: &Repository, descriptor: &Descriptor) -> Ask {
    let media_type = descriptor.media_type().as_ref();
    let document = document::is_index(media_type) || document::is_manifest(media_type);
    let kind = if document { "manifests" } else { "blobs" };
    let mut ask = Ask::of(repository, Method::GET, &format!("{kind}/{}", descriptor.digest()));
    if document {
        ask.headers.push((ACCEPT, DOCUMENTS.to_owned()));
    }
    ask
}

/// Reads one blob, and knows how far it has come.
pub(crate) struct BlobReader {
    session: Session,
    repository: Repository,
    descriptor: Descriptor,
    /// Bytes delivered, counted from the blob's beginning.
    offset: u64,
    /// Bytes to drop first: a server without ranges begins at the beginning.
    skip: u64,
    body: Option<Incoming>,
    breaks: u32,
    tries: u32,
    /// Where the last break was.
    broke_at: u64,
}

impl BlobReader {
    /// Opens the blob at `offset`.
    pub(crate) async fn open(
        session: Session,
        repository: Repository,
        descriptor: Descriptor,
        offset: u64,
    ) -> Result<Self, RegistryError> {
        let (skip, body, breaks, tries, broke_at) = (0, None, 0, 0, offset);
        let mut reader = Self {
            session,
            repository,
            descriptor,
            offset,
            skip,
            body,
            breaks,
            tries,
            broke_at,
        };
        if offset < reader.descriptor.size() {
            reader.begin().await?;
        }
        Ok(reader)
    }

    pub(crate) fn into_stream(self) -> BlobStream {
        Box::pin(try_unfold(self, |mut reader| async move {
            Ok(reader.next().await?.map(|chunk| (chunk, reader)))
        }))
    }

    /// Asks for the rest of the blob.
    async fn begin(&mut self) -> Result<(), RegistryError> {
        let mut ask = ask_for(&self.repository, &self.descriptor);
        if self.offset > 0 {
            ask.headers.push((RANGE, format!("bytes={}-", self.offset)));
        }
        self.tries += 1;
        let (response, url) = self.session.ask(&ask).await?;
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start = range_start(&response);
                if start != Some(self.offset) {
                    let reason = format!("range from {start:?} where {} was asked for", self.offset);
                    return Err(RegistryError::Garbage {
                        url: url.to_string(),
                        reason,
                    });
                }
                0
            }
            _ => self.offset,
        };
        self.body = Some(response.into_body());
        Ok(())
    }

    /// The next piece, or the end when the descriptor's size is reached.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let size = self.descriptor.size();
        loop {
            if self.offset >= size && self.body.is_none() {
                return Ok(None);
            }
            let Some(body) = self.body.as_mut() else {
                match self.begin().await {
                    Ok(()) => continue,
                    Err(error) if error.is_transport() => {
                        self.broken(&error.to_string()).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            let piece = match tokio::time::timeout(STALL_TIMEOUT, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().ok(),
                Ok(None) if self.offset >= size => {
                    self.body = None;
                    return Ok(None);
                }
                Ok(None) => {
                    self.broken("the body ended early").await?;
                    None
                }
                Ok(Some(Err(error))) => {
                    self.broken(&chain(&error)).await?;
                    None
                }
                Err(_) => {
                    self.broken("no data for 60 s").await?;
                    None
                }
            };
            if let Some(piece) = piece.and_then(|p| self.take(p).transpose()) {
                return piece.map(Some);
            }
        }
    }

    /// Counts a piece in; nothing when it was skipped whole.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, RegistryError> {
        if self.skip > 0 {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
            let _ = piece.split_to(skipped);
            self.skip -= skipped as u64;
        }
        if piece.is_empty() {
            return Ok(None);
        }
        self.offset += piece.len() as u64;
        if self.offset > self.descriptor.size() {
            return Err(RegistryError::Size {
                digest: self.descriptor.digest().to_string(),
                expected: self.descriptor.size(),
                found: self.offset,
            });
        }
        if self.offset - self.broke_at >= PROGRESS {
            self.breaks = 0;
        }
        Ok(Some(piece))
    }

    /// Notes a break, and waits a little longer after each.
    async fn broken(&mut self, reason: &str) -> Result<(), RegistryError> {
        self.body = None;
        self.breaks += 1;
        self.broke_at = self.offset;
        if self.breaks > BREAKS {
            return Err(RegistryError::BrokenOff {
                digest: self.descriptor.digest().to_string(),
                got: self.offset,
                want: self.descriptor.size(),
                tries: self.tries,
                reason: reason.to_owned(),
            });
        }
        tracing::debug!(digest = %self.descriptor.digest(), offset = self.offset, reason, "resuming a blob");
        tokio::time::sleep(Duration::from_millis(50 << self.breaks)).await;
        Ok(())
    }
}

/// The first byte of `Content-Range: bytes 10-99/100`.
fn range_start(response: &Response<Incoming>) -> Option<u64> {
    let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    value
        .trim()
        .strip_prefix("bytes")?
        .trim()
        .split('-')
        .next()?
        .parse()
        .ok()
}
