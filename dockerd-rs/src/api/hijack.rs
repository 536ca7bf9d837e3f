//! Connections that stop being HTTP: attach and exec.
//!
//! With `Upgrade: tcp` the answer is 101 and the connection is the client's and the process's. A client that asks for no upgrade gets the
//! output as the body of a 200; it has no way to send input after its request's end.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::ApiVersion;
use crate::engine::attach::frame;
use crate::engine::streams::Chunk;

const RAW: &str = "application/vnd.docker.raw-stream";
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// The content type of a stream; frames had none of their own before 1.42.
pub(super) fn content_type(raw: bool, version: ApiVersion) -> HeaderValue {
    HeaderValue::from_static(if raw || !version.at_least(42) { RAW } else { MULTIPLEXED })
}

/// Takes the connection, when the client offers it.
pub(super) fn take(parts: &mut Parts) -> Option<OnUpgrade> {
    let offered = parts.headers.contains_key(UPGRADE);
    parts.extensions.remove::<OnUpgrade>().filter(|_| offered)
}

/// The 101.
pub(super) fn switching(headers: &HeaderMap, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let protocol = headers
        .get(UPGRADE)
        .cloned()
        .unwrap_or_else(|| HeaderValue::from_static("tcp"));
    response.headers_mut().insert(UPGRADE, protocol);
    response
}

/// The connection, once it is ours.
pub(super) async fn io(upgrade: OnUpgrade) -> Option<TokioIo<Upgraded>> {
    match upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "upgrade");
            None
        }
    }
}

/// Output as the body of a 200.
pub(super) fn plain(
    output: mpsc::Receiver<Chunk>,
    first: Vec<Bytes>,
    raw: bool,
    content_type: HeaderValue,
) -> Response<Body> {
    let begin = stream::iter(first.into_iter().map(Ok::<_, std::convert::Infallible>));
    let rest = stream::unfold(output, move |mut output| async move {
        let (kind, bytes) = output.recv().await?;
        let bytes = if raw { bytes } else { frame(kind, &bytes) };
        Some((Ok(bytes), output))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(begin, rest));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
