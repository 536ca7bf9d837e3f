//! Progress as JSON lines, in the form and the words that Docker's clients draw.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result};

/// Where lines go. A client that reads slowly misses updates, never states.
#[derive(Debug, Clone)]
pub struct Progress {
    lines: mpsc::Sender<Bytes>,
}

/// The lines of one operation, as they come. Dropping it cancels the operation.
#[derive(Debug)]
pub struct Lines {
    receiver: mpsc::Receiver<Bytes>,
    failure: Option<oneshot::Receiver<Error>>,
    _guard: DropGuard,
}

impl Lines {
    /// The next line; nothing when the operation is over. A failure is the last line.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.receiver.recv().await {
            return Some(line);
        }
        let error = self.failure.take()?.await.ok()?;
        let detail = json!({ "message": error.message });
        Some(render(&json!({ "errorDetail": detail, "error": error.message })))
    }
}

/// A progress, its lines, and the token that is canceled when the lines are dropped.
pub fn channel() -> (Progress, Lines, CancellationToken) {
    let (lines, receiver) = mpsc::channel(64);
    let token = CancellationToken::new();
    (
        Progress { lines },
        Lines {
            receiver,
            failure: None,
            _guard: token.clone().drop_guard(),
        },
        token,
    )
}

/// A layer's or manifest's short name: the first twelve digits of its digest.
pub fn short_id(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

impl Progress {
    async fn line(&self, value: &Value) {
        // Nobody listens any more: the token has been canceled, there is nothing to do here.
        let _ = self.lines.send(render(value)).await;
    }

    /// `{"status": ...}`.
    pub async fn message(&self, status: impl Into<String>) {
        self.line(&json!({ "status": status.into() })).await;
    }

    /// `{"status": ..., "id": ...}`.
    pub async fn message_of(&self, id: &str, status: impl Into<String>) {
        self.line(&json!({ "status": status.into(), "id": id })).await;
    }

    /// `{"stream": ...}`, as load prints.
    pub async fn stream(&self, text: impl Into<String>) {
        self.line(&json!({ "stream": text.into() })).await;
    }

    /// A new state of a layer.
    pub async fn state(&self, id: &str, action: &str) {
        self.line(&json!({ "status": action, "progressDetail": {}, "id": id }))
            .await;
    }

    /// How far a layer is, in bytes. May be left out.
    pub fn bytes(&self, id: &str, action: &str, current: u64, total: u64) {
        let detail = json!({ "current": current, "total": total });
        let _ = self
            .lines
            .try_send(render(&json!({ "status": action, "progressDetail": detail, "id": id })));
    }

    /// How long a layer has taken, in seconds. May be left out.
    pub fn seconds(&self, id: &str, action: &str, seconds: u64) {
        let detail = json!({ "current": seconds, "units": "s" });
        let _ = self
            .lines
            .try_send(render(&json!({ "status": action, "progressDetail": detail, "id": id })));
    }
}

fn render(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

/// The beginning of an operation: its first line, or why there is none.
///
/// Docker answers with a status and a message for what fails before the first line, and within the stream afterwards.
///
/// # Errors
/// The operation's own.
pub async fn begin(
    mut lines: Lines,
    work: impl Future<Output = Result<()>> + Send + 'static,
) -> Result<(Option<Bytes>, Lines)> {
    let (failed, failure) = oneshot::channel();
    tokio::spawn(async move {
        let outcome = work.await;
        if let Err(error) = outcome {
            // Nobody to tell: the client has gone.
            let _ = failed.send(error);
        }
    });
    if let Some(first) = lines.receiver.recv().await {
        lines.failure = Some(failure);
        return Ok((Some(first), lines));
    }
    match failure.await {
        Ok(error) => Err(error),
        Err(_) => Ok((None, lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_before_the_first_line_is_an_error_and_after_it_a_line() {
        let (progress, lines, _) = channel();
        let early = begin(lines, async move {
            drop(progress);
            Err(Error::not_found("gone"))
        });
        assert_eq!(early.await.unwrap_err().message, "gone");

        let (progress, lines, _) = channel();
        let (first, mut lines) = begin(lines, async move {
            progress.message("x").await;
            Err(Error::not_found("gone"))
        })
        .await
        .unwrap();
        assert_eq!(first.as_deref(), Some(&b"{\"status\":\"x\"}\r\n"[..]));
        assert!(
            String::from_utf8_lossy(&lines.next().await.unwrap()).contains("\"errorDetail\":{\"message\":\"gone\"}")
        );
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn dropped_lines_cancel_the_work() {
        let (progress, lines, token) = channel();
        let (_, lines) = begin(lines, async move {
            progress.message("x").await;
            std::future::pending().await
        })
        .await
        .unwrap();
        assert!(!token.is_cancelled());
        drop(lines);
        token.cancelled().await;
    }
}
