//! `GET /containers/{id}/logs`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use super::{ApiVersion, Params, hijack, time};
use crate::engine::Engine;
use crate::engine::attach::frame;
use crate::engine::container::Container;
use crate::engine::logs::{self, Entry, ReadOptions};
use crate::engine::streams::Output;
use crate::error::{Error, Result};

/// Entries read ahead of a client.
const AHEAD: usize = 256;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/containers/{id}/logs", get(show))
}

async fn show(
    State(engine): State<Arc<Engine>>,
    version: ApiVersion,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response> {
    let container = engine.container(&id)?;
    let (stdout, stderr) = (params.flag("stdout"), params.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let options = ReadOptions {
        // Docker takes what is no number for all.
        tail: params.get("tail").and_then(|tail| tail.parse().ok()),
        since: time::nanos(params.get("since"))?,
        until: time::nanos(params.get("until"))?,
        follow: params.flag("follow"),
    };
    let (timestamps, details) = (params.flag("timestamps"), params.flag("details"));
    let raw = container.record().config.tty;
    let entries = entries(&engine, &container, options)?;
    let body = stream::unfold(entries, move |mut entries| async move {
        loop {
            let entry = entries.recv().await?;
            let kind = if entry.stderr { Output::Stderr } else { Output::Stdout };
            if (entry.stderr && stderr) || (!entry.stderr && stdout) {
                let bytes = entry.render(timestamps, details);
                let bytes = if raw { Bytes::from(bytes) } else { frame(kind, &bytes) };
                return Some((Ok::<_, std::convert::Infallible>(bytes), entries));
            }
        }
    });
    Ok((
        [(CONTENT_TYPE, hijack::content_type(raw, version))],
        Body::from_stream(body),
    )
        .into_response())
}

/// Reads a container's log on a thread of its own; it ends when the receiver goes.
pub(super) fn entries(engine: &Engine, container: &Container, options: ReadOptions) -> Result<mpsc::Receiver<Entry>> {
    if container.record().host_config.log_config.kind == "none" {
        return Err(Error::not_implemented(
            "configured logging driver does not support reading",
        ));
    }
    let path = engine.log_path(&container.id);
    let (sender, receiver) = mpsc::channel(AHEAD);
    let life = container.life.subscribe();
    std::thread::Builder::new()
        .name("log-reader".to_owned())
        .stack_size(256 << 10)
        .spawn(move || logs::read(&path, &options, &life, &sender))
        .map_err(|e| Error::failed("thread log-reader", e))?;
    Ok(receiver)
}
