//! Routes of execs.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{ApiVersion, JsonBody, Params, attach, containers, hijack, json};
use crate::engine::Engine;
use crate::engine::attach::{End, Wants, copy, frame, parse_keys};
use crate::engine::container::Container;
use crate::engine::exec::{Exec, ExecConfig};
use crate::engine::streams::Output;
use crate::error::{Error, Result};

type Shared = State<Arc<Engine>>;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/containers/{id}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(
    State(engine): Shared,
    Path(id): Path<String>,
    JsonBody(config): JsonBody<ExecConfig>,
) -> Result<Response> {
    let container = engine.container(&id)?;
    let id = engine.create_exec(&container, config)?;
    Ok((StatusCode::CREATED, Json(json!({"Id": id}))).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartConfig {
    detach: bool,
    tty: bool,
}

async fn start(
    State(engine): Shared,
    version: ApiVersion,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map_err(|e| Error::invalid(format!("reading the request body: {e}")))?
        .to_bytes();
    let config: StartConfig = json::decode(&bytes)?;
    let (container, exec) = engine.exec(&id)?;
    if config.detach {
        engine.start_exec(&container, &exec, false).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let raw = exec.config.tty || config.tty;
    let content_type = hijack::content_type(raw, version);
    let wants = Wants {
        stdin: exec.config.attach_stdin,
        close_stdin: !exec.config.tty,
        raw,
        keys: if exec.config.tty {
            Some(parse_keys(&exec.config.detach_keys)?)
        } else {
            None
        },
    };
    // Before the process runs: its first byte counts.
    let output = exec
        .streams
        .listen(exec.config.attach_stdout, exec.config.attach_stderr)?;
    let Some(upgrade) = hijack::take(&mut parts) else {
        engine.start_exec(&container, &exec, true).await?;
        return Ok(hijack::plain(output, Vec::new(), raw, content_type));
    };
    if exec.state().exit_code.is_some() || exec.is_running() {
        return Err(Error::conflict(format!("exec command {} has already run", exec.id)));
    }
    let response = hijack::switching(&parts.headers, content_type);
    tokio::spawn(async move {
        let Some(io) = hijack::io(upgrade).await else { return };
        let (reader, mut writer) = tokio::io::split(io);
        if let Err(error) = engine.start_exec(&container, &exec, true).await {
            // The connection is no HTTP any more: the text goes where the output would.
            let text = format!("{error}\r\n");
            let bytes = if raw {
                text.into_bytes().into()
            } else {
                frame(Output::Stdout, text.as_bytes())
            };
            let _ = writer.write_all(&bytes).await;
            let _ = writer.shutdown().await;
            return;
        }
        run(&engine, &container, &exec, reader, writer, output, wants).await;
    });
    Ok(response)
}

async fn run<R, W>(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    reader: R,
    writer: W,
    output: tokio::sync::mpsc::Receiver<crate::engine::streams::Chunk>,
    wants: Wants,
) where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
    W: tokio::io::AsyncWrite + Unpin + Send,
{
    let (closer, id, exec_id) = (Arc::clone(engine), container.id.clone(), exec.id.clone());
    let close = async move || attach::close_input(&closer, &id, &exec_id).await;
    let end = copy(reader, writer, Arc::clone(&exec.streams), output, wants, close).await;
    if end == End::Detached {
        engine.container_event("exec_detach", &container.record(), &[("execID", exec.id.clone())]);
    }
}

async fn resize(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<StatusCode> {
    let (container, exec) = engine.exec(&id)?;
    let (height, width) = containers::size(&params)?;
    engine.resize_exec(&container, &exec, height, width).await?;
    Ok(StatusCode::OK)
}

async fn inspect(State(engine): Shared, Path(id): Path<String>) -> Result<Json<Value>> {
    let (container, exec) = engine.exec(&id)?;
    let (state, config) = (exec.state(), &exec.config);
    let mut words = config.cmd.clone().unwrap_or_default().into_iter();
    Ok(Json(json!({
        "ID": exec.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": words.next().unwrap_or_default(),
            "arguments": words.collect::<Vec<_>>(),
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": state.exit_code.is_some(),
        "ContainerID": container.id,
        "DetachKeys": config.detach_keys,
        "Pid": state.pid,
    })))
}
