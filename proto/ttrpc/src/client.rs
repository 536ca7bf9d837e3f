//! Calls ttrpc services over one connection.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_proto::ttrpc::{KeyValue, Request, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::frame::{self, Frame, Incoming, Kind, MAX_MESSAGE};
use crate::{Code, Context, Status};

type Answer = Result<Vec<u8>, Status>;

/// A connection; clones share it, and calls of all of them run at once. It closes when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    requests: mpsc::Sender<Frame>,
    pending: Arc<Pending>,
    closed: watch::Receiver<bool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

/// The calls that wait for an answer; `None` when the connection is gone.
#[derive(Default)]
struct Pending(Mutex<State>);

#[derive(Default)]
struct State {
    last_stream: u32,
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
    closed: bool,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next stream id: odd, as all streams that a client opens.
    fn open(&self, answer: oneshot::Sender<Answer>) -> Result<u32, Status> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        let stream = if state.last_stream == 0 {
            1
        } else {
            state.last_stream.wrapping_add(2) | 1
        };
        state.last_stream = stream;
        state.waiting.insert(stream, answer);
        Ok(stream)
    }

    fn answer(&self, stream: u32, answer: Answer) {
        if let Some(waiting) = self.lock().waiting.remove(&stream) {
            // A caller that gave up needs no answer.
            let _ = waiting.send(answer);
        }
    }

    fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for (_, answer) in waiting {
            let _ = answer.send(Err(closed()));
        }
    }
}

/// Forgets a call whose caller went away, so that no entry outlives it.
struct Forget<'a>(&'a Pending, u32);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting.remove(&self.1);
    }
}

impl Client {
    /// Connects to a unix socket.
    ///
    /// # Errors
    /// What `connect(2)` fails with.
    pub async fn connect(path: &Path) -> std::io::Result<Self> {
        Ok(Self::new(UnixStream::connect(path).await?))
    }

    /// Speaks over a connection that is there already.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (requests, outgoing) = mpsc::channel(16);
        let (closing, closed) = watch::channel(false);
        let pending = Arc::new(Pending::default());
        tokio::spawn(drive(stream, outgoing, Arc::clone(&pending), closing));
        Self {
            requests,
            pending,
            closed,
        }
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the driver is gone, and the connection with it.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.pending.lock().closed
    }

    /// Calls a method and waits for the answer, at most for the context's timeout.
    ///
    /// # Errors
    /// The server's status; [`Code::Unavailable`] when the connection is gone; [`Code::DeadlineExceeded`]; [`Code::ResourceExhausted`]
    /// for a request over [`MAX_MESSAGE`].
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        context: &Context,
        request: &Q,
    ) -> Result<A, Status> {
        let call = self.call_raw(service, method, context, request.encode_to_vec());
        let payload = match context.timeout {
            None => call.await?,
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")))?,
        };
        A::decode(payload.as_slice())
            .map_err(|e| Status::new(Code::Internal, format!("unmarshal answer of {service}/{method}: {e}")))
    }

    async fn call_raw(&self, service: &str, method: &str, context: &Context, payload: Vec<u8>) -> Answer {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: context
                .timeout
                .map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX)),
            metadata: context
                .metadata
                .iter()
                .map(|(key, value)| KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
        };
        let payload = request.encode_to_vec();
        if payload.len() > MAX_MESSAGE {
            let text = format!(
                "message length {} exceed maximum message size of {MAX_MESSAGE}",
                payload.len()
            );
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        let (answer, answered) = oneshot::channel();
        let stream = self.pending.open(answer)?;
        let _forget = Forget(&self.pending, stream);
        let frame = Frame {
            stream,
            kind: Kind::Request,
            payload,
        };
        self.requests.send(frame).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Owns the connection: writes requests, hands out answers, and ends when either side does.
async fn drive(
    stream: impl AsyncRead + AsyncWrite,
    mut outgoing: mpsc::Receiver<Frame>,
    pending: Arc<Pending>,
    closing: watch::Sender<bool>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        while let Some(frame) = outgoing.recv().await {
            frame::write(&mut writer, &frame).await?;
        }
        std::io::Result::Ok(())
    };
    let read = async {
        while let Some(incoming) = frame::read(&mut reader).await? {
            match incoming {
                Incoming::Frame(frame) if frame.kind == Kind::Response => {
                    pending.answer(frame.stream, parse(&frame.payload));
                }
                Incoming::Frame(_) => {}
                Incoming::TooLong { stream, length } => {
                    let text = format!("answer of {length} bytes");
                    pending.answer(stream, Err(Status::new(Code::ResourceExhausted, text)));
                }
            }
        }
        std::io::Result::Ok(())
    };
    tokio::pin!(write, read);
    // Whichever side ends first, and with whatever error, the connection is of no more use.
    let _ = tokio::select! { r = &mut write => r, r = &mut read => r };
    pending.close();
    let _ = closing.send(true);
}

fn parse(payload: &[u8]) -> Answer {
    let response =
        Response::decode(payload).map_err(|e| Status::new(Code::Internal, format!("unmarshal response: {e}")))?;
    match response.status {
        Some(status) if status.code != 0 => Err(status.into()),
        _ => Ok(response.payload),
    }
}

fn closed() -> Status {
    Status::unavailable("ttrpc: closed")
}
