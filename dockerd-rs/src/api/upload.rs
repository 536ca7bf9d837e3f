//! What a client still sends when its request is refused already.
//!
//! A client in the middle of an upload whose connection is closed tells its user of the connection, not of the error. So whatever a handler has
//! left of a body when it answers with an error is read away before the answer goes out, for all routes alike.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// How long a client may go on sending; what takes longer is cut off all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that a handler has; what it does not read stays in the [`Rest`].
#[derive(Debug)]
struct Lent(Arc<Mutex<Body>>);

/// What is left of a body, once its handler is done.
#[derive(Debug)]
pub(super) struct Rest(Arc<Mutex<Body>>);

fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps an end of the request's body, unless there is none, or its client waits to be told before it sends.
pub(super) fn keep(request: &mut Request<Body>) -> Option<Rest> {
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return None;
    }
    let shared = Arc::new(Mutex::new(std::mem::take(request.body_mut())));
    *request.body_mut() = Body::new(Lent(Arc::clone(&shared)));
    Some(Rest(shared))
}

impl Rest {
    /// Reads what is left, up to its end or the end of patience.
    pub(super) async fn read_away(self) {
        self.read_away_within(PATIENCE).await;
    }

    async fn read_away_within(self, patience: Duration) {
        let next = || std::future::poll_fn(|context| Pin::new(&mut *lock(&self.0)).poll_frame(context));
        let end = async { while let Some(Ok(_)) = next().await {} };
        // Whether the client was done in time changes nothing here.
        let _ = tokio::time::timeout(patience, end).await;
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut *lock(&self.0)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_and_no_more() {
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let pieces = futures_util::stream::iter(0..10).map(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(b"piece"))
        });
        let mut request = Request::new(Body::from_stream(pieces));
        let rest = keep(&mut request).unwrap();
        let mut handed = request.into_body().into_data_stream();
        assert_eq!(handed.next().await.unwrap().unwrap(), "piece");
        drop(handed);
        assert_eq!(read.load(Ordering::SeqCst), 1);
        rest.read_away().await;
        assert_eq!(read.load(Ordering::SeqCst), 10);
        assert!(keep(&mut Request::new(Body::empty())).is_none());
    }

    #[tokio::test]
    async fn a_client_that_never_ends_is_cut_off() {
        let mut request = Request::new(Body::from_stream(
            futures_util::stream::pending::<std::io::Result<Bytes>>(),
        ));
        let rest = keep(&mut request).unwrap();
        rest.read_away_within(Duration::from_millis(1)).await;
    }
}
