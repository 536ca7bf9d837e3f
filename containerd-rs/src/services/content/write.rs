//! Writing a blob: one stream of requests holds one ingest, and each request gets one answer.
//!
//! The protocol is containerd's: the first message names the ingest, any message may tell or correct the expected size and digest, a
//! write or commit carries data for exactly the present offset, and one for offset 0 of an ingest that is further starts it again.

use std::sync::Arc;

use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::content::v1 as api;
use containerd_proto::containerd::services::content::v1::WriteAction;
use containerd_rs_core::{ContentStore, ContentWriter, Ctx, Digest, Error, Kind, Result, WriterRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Status, Streaming};

use super::convert;
use crate::events::Exchange;
use crate::serve::status;
use crate::services::request::run;

/// One write stream.
pub(super) struct Session {
    ctx: Ctx,
    store: Arc<dyn ContentStore>,
    exchange: Exchange,
    reference: String,
    total: u64,
    expected: Option<Digest>,
}

/// What is left after a message.
enum Next {
    Open(Box<dyn ContentWriter>),
    Committed { digest: Digest, size: u64 },
}

impl Session {
    pub(super) fn new(ctx: Ctx, store: Arc<dyn ContentStore>, exchange: Exchange) -> Self {
        Session {
            ctx,
            store,
            exchange,
            reference: String::new(),
            total: 0,
            expected: None,
        }
    }

    /// Runs the session; the stream has the answers.
    pub(super) fn stream(
        self,
        messages: Streaming<api::WriteContentRequest>,
    ) -> impl Stream<Item = std::result::Result<api::WriteContentResponse, Status>> + Send + 'static {
        let (send, receive) = mpsc::channel(4);
        tokio::spawn(async move {
            if let Err(error) = self.run(messages, &send).await {
                // The client may be gone, and is the only one who would care.
                let _ = send.send(Err(error)).await;
            }
        });
        ReceiverStream::new(receive)
    }

    async fn run(
        mut self,
        mut messages: Streaming<api::WriteContentRequest>,
        answers: &mpsc::Sender<std::result::Result<api::WriteContentResponse, Status>>,
    ) -> std::result::Result<(), Status> {
        let Some(mut message) = messages.next().await.transpose()? else {
            return Ok(());
        };
        if message.r#ref.is_empty() {
            return Err(Status::invalid_argument("first message must have a reference"));
        }
        self.reference.clone_from(&message.r#ref);
        let mut writer = None;
        loop {
            let (session, result) = self.step(writer.take(), message).await;
            self = session;
            let (answer, next) = result.map_err(|e| self.failed(&e))?;
            let committed = match next {
                Next::Open(open) => {
                    writer = Some(open);
                    false
                }
                Next::Committed { digest, size } => {
                    let event = event::ContentCreate {
                        digest: digest.into(),
                        size: convert::size_out(size),
                    };
                    self.exchange.emit(&self.ctx.namespace, "/content/create", &event);
                    true
                }
            };
            if answers.send(Ok(answer)).await.is_err() || committed {
                break;
            }
            match messages.next().await {
                Some(Ok(next)) => message = next,
                // A client that breaks off leaves the ingest to be resumed.
                Some(Err(_)) | None => break,
            }
        }
        // The writer closes files and records where it stands.
        run(move || {
            drop(writer);
            Ok(())
        })
        .await
        .map_err(|e| status(&e))
    }

    fn failed(&self, error: &Error) -> Status {
        if error.kind() != Kind::AlreadyExists {
            tracing::warn!(reference = self.reference, %error, "content write failed");
        }
        status(error)
    }

    /// One message on a blocking thread; opens the writer for the first.
    async fn step(
        mut self,
        writer: Option<Box<dyn ContentWriter>>,
        message: api::WriteContentRequest,
    ) -> (Self, Result<(api::WriteContentResponse, Next)>) {
        let spare = Session::new(self.ctx.clone(), self.store.clone(), self.exchange.clone());
        let done = run(move || {
            let result = self.handle(writer, message);
            Ok((self, result))
        });
        done.await.unwrap_or_else(|error| (spare, Err(error)))
    }

    fn handle(
        &mut self,
        writer: Option<Box<dyn ContentWriter>>,
        message: api::WriteContentRequest,
    ) -> Result<(api::WriteContentResponse, Next)> {
        let first = writer.is_none();
        self.learn(&message, first)?;
        let mut writer = match writer {
            Some(writer) => writer,
            None => self.store.writer(&self.ctx, &self.wanted())?,
        };
        let found = writer.status();
        let mut answer = api::WriteContentResponse {
            action: message.action,
            offset: convert::size_out(found.offset),
            ..Default::default()
        };
        let action = message.action();
        if action == WriteAction::Stat {
            answer.digest = writer.digest()?.into();
            answer.started_at = Some(convert::time_out(found.started_at));
            answer.updated_at = Some(convert::time_out(found.updated_at));
            answer.total = convert::size_out(self.total);
            return Ok((answer, Next::Open(writer)));
        }
        let offset = write(writer.as_mut(), found.offset, &message)?;
        answer.offset = convert::size_out(offset);
        if action == WriteAction::Write {
            answer.digest = writer.digest()?.into();
            return Ok((answer, Next::Open(writer)));
        }
        let digest = writer.commit(self.total, self.expected.as_ref(), &convert::labels(message.labels))?;
        answer.digest = digest.to_string();
        Ok((answer, Next::Committed { digest, size: offset }))
    }

    fn wanted(&self) -> WriterRequest {
        WriterRequest {
            reference: self.reference.clone(),
            total: self.total,
            expected: self.expected.clone(),
        }
    }

    /// Takes what a message says of size and digest. A digest that turns up on the way and is there already ends the ingest.
    fn learn(&mut self, message: &api::WriteContentRequest, first: bool) -> Result<()> {
        if message.total > 0 {
            self.total = convert::size(message.total);
        }
        let Some(expected) = convert::digest(&message.expected)? else {
            return Ok(());
        };
        if !first && self.expected.as_ref() != Some(&expected) && self.store.info(&self.ctx, &expected).is_ok() {
            self.store.abort(&self.ctx, &self.reference)?;
            return Err(Error::AlreadyExists(format!(
                "blob with expected digest {expected} exists"
            )));
        }
        self.expected = Some(expected);
        Ok(())
    }
}

/// Appends a message's data and returns where the ingest is then.
fn write(writer: &mut dyn ContentWriter, mut offset: u64, message: &api::WriteContentRequest) -> Result<u64> {
    let at = convert::size(message.offset);
    if at > 0 && at != offset {
        return Err(Error::OutOfRange(format!(
            "write @{at} must occur at current offset {offset}"
        )));
    }
    if at == 0 && offset > 0 {
        writer.truncate(0).map_err(|e| e.context("truncate failed"))?;
        offset = 0;
    }
    if !message.data.is_empty() {
        writer.write(&message.data)?;
        offset += message.data.len() as u64;
    }
    Ok(offset)
}
