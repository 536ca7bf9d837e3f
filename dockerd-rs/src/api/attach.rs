//! `POST /containers/{id}/attach`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use containerd_proto::containerd::services::tasks::v1::CloseIoRequest;
use tokio::io::AsyncWriteExt;

use super::{ApiVersion, Params, hijack, logs};
use crate::engine::Engine;
use crate::engine::attach::{End, Wants, copy, frame, parse_keys};
use crate::engine::logs::ReadOptions;
use crate::engine::streams::Output;
use crate::error::{Error, Result};

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/containers/{id}/attach", post(attach))
}

async fn attach(
    State(engine): State<Arc<Engine>>,
    version: ApiVersion,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> Result<Response> {
    let container = engine.container(&id)?;
    let record = container.record();
    let keys = parse_keys(params.get("detachKeys").unwrap_or_default())?;
    if record.state.status == crate::engine::model::Status::Paused {
        return Err(Error::conflict(format!(
            "container {} is paused, unpause the container before attach",
            record.id
        )));
    }
    let raw = record.config.tty;
    let wants = Wants {
        stdin: params.flag("stdin") && params.flag("stream") && record.config.open_stdin,
        close_stdin: record.config.stdin_once && !record.config.tty,
        raw,
        keys: record.config.tty.then_some(keys),
    };
    let stream = params.flag("stream");
    let (stdout, stderr) = (params.flag("stdout"), params.flag("stderr"));
    // Listened to before the log is read: a line may come twice where the two meet, but none is lost.
    let output = container.streams.listen(stream && stdout, stream && stderr)?;
    let mut replay = Vec::new();
    if params.flag("logs") {
        let options = ReadOptions {
            tail: None,
            since: None,
            until: None,
            follow: false,
        };
        let mut entries = logs::entries(&engine, &container, options)?;
        while let Some(entry) = entries.recv().await {
            let kind = if entry.stderr { Output::Stderr } else { Output::Stdout };
            if (kind == Output::Stdout && stdout) || (kind == Output::Stderr && stderr) {
                let text = entry.text.into_bytes();
                replay.push(if raw { Bytes::from(text) } else { frame(kind, &text) });
            }
        }
    }
    engine.container_event("attach", &record, &[]);
    let content_type = hijack::content_type(raw, version);
    let (mut parts, _) = request.into_parts();
    let Some(upgrade) = hijack::take(&mut parts) else {
        return Ok(hijack::plain(output, replay, raw, content_type));
    };
    let response = hijack::switching(&parts.headers, content_type);
    tokio::spawn(async move {
        let Some(io) = hijack::io(upgrade).await else { return };
        let (reader, mut writer) = tokio::io::split(io);
        for bytes in replay {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if !stream {
            // The client may be gone.
            let _ = writer.shutdown().await;
            return;
        }
        let streams = Arc::clone(&container.streams);
        let (closer, own) = (Arc::clone(&engine), Arc::clone(&container));
        let close = async move || {
            // Input may end before the container starts: the shim is told when there is one.
            let _ = own.life.subscribe().wait_for(|life| life.running || life.removed).await;
            close_input(&closer, &own.id, "").await;
        };
        let end = copy(reader, writer, streams, output, wants, close).await;
        if end == End::Detached {
            engine.container_event("detach", &container.record(), &[]);
        }
    });
    Ok(response)
}

/// Tells the shim that no more input comes.
pub(super) async fn close_input(engine: &Engine, id: &str, exec_id: &str) {
    let request = CloseIoRequest {
        container_id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        stdin: true,
    };
    if let Err(status) = engine.l3.tasks().close_io(request).await {
        tracing::debug!(container = id, error = status.message(), "input not closed");
    }
}
