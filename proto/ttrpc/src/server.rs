//! Serves ttrpc services on connections.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use containerd_proto::ttrpc::{Request, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Mutex;

use crate::frame::{self, Frame, Incoming, Kind, MAX_MESSAGE};
use crate::{Code, Context, Status};

/// The encoded answer of a call, on its way.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Status>> + Send + 'a>>;

/// One service: methods by name. The generated `…Server` types implement it.
pub trait Service: Send + Sync + 'static {
    /// Calls a method with an encoded request.
    fn call<'a>(&'a self, method: &'a str, context: &'a Context, payload: &'a [u8]) -> Reply<'a>;
}

/// A set of services, by full name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Server {
    services: Arc<HashMap<String, Arc<dyn Service>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}

impl Server {
    /// A server of no services yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service under its full name, such as `containerd.task.v3.Task`; a name that is there already is replaced.
    #[must_use]
    pub fn with(self, name: &str, service: Arc<dyn Service>) -> Self {
        let mut services = HashMap::clone(&self.services);
        services.insert(name.to_owned(), service);
        Self {
            services: Arc::new(services),
        }
    }

    /// Accepts and serves connections, each in a task of its own, until the listener fails.
    ///
    /// # Errors
    /// What `accept` fails with; lack of file descriptors or memory is waited out instead.
    pub async fn serve(&self, listener: UnixListener) -> std::io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move { server.serve_connection(stream).await });
                }
                Err(e) if is_passing(&e) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(e) => return Err(e),
            }
        }
    }

    /// Serves one connection until the peer closes it or sends what is not ttrpc. Calls under way at its end are finished and their answers dropped.
    pub async fn serve_connection(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let (mut reader, writer) = tokio::io::split(stream);
        let writer = Arc::new(Mutex::new(writer));
        while let Ok(Some(incoming)) = frame::read(&mut reader).await {
            let (server, writer) = (self.clone(), Arc::clone(&writer));
            let (stream, call) = match incoming {
                Incoming::Frame(frame) if frame.kind == Kind::Request => (frame.stream, Ok(frame.payload)),
                Incoming::Frame(_) => continue,
                Incoming::TooLong { stream, length } => (stream, Err(too_long(length))),
            };
            tokio::spawn(async move {
                let result = match call {
                    Ok(payload) => server.call(&payload).await,
                    Err(status) => Err(status),
                };
                let answer = Frame {
                    stream,
                    kind: Kind::Response,
                    payload: respond(result),
                };
                // A peer that is gone needs no answer.
                let _ = frame::write(&mut *writer.lock().await, &answer).await;
            });
        }
    }

    async fn call(&self, payload: &[u8]) -> Result<Vec<u8>, Status> {
        let request: Request = crate::decode(payload)?;
        let service = self
            .services
            .get(&request.service)
            .ok_or_else(|| Status::unimplemented(format!("service {}", request.service)))?;
        let timeout = u64::try_from(request.timeout_nano)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_nanos);
        let metadata = request
            .metadata
            .into_iter()
            .map(|pair| (pair.key, pair.value))
            .collect();
        let context = Context { metadata, timeout };
        let call = service.call(&request.method, &context, &request.payload);
        match timeout {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOMEM: i32 = 12;
    const ECONNABORTED: i32 = 103;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM | ECONNABORTED))
}

fn too_long(length: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("message length {length} exceed maximum message size of {MAX_MESSAGE}"),
    )
}

fn respond(result: Result<Vec<u8>, Status>) -> Vec<u8> {
    let result = match result {
        Ok(payload) if payload.len() > MAX_MESSAGE - 1024 => Err(too_long(payload.len())),
        other => other,
    };
    let response = match result {
        Ok(payload) => Response { status: None, payload },
        Err(status) => Response {
            status: Some(status.into()),
            payload: Vec::new(),
        },
    };
    response.encode_to_vec()
}
