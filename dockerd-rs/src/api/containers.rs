//! Routes of containers, but for their streams.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::{ApiVersion, Filters, JsonBody, Params};
use crate::engine::Engine;
use crate::engine::list::ListOptions;
use crate::engine::model::CreateRequest;
use crate::engine::{RemoveOptions, UpdateRequest};
use crate::error::{Error, Result};

type Shared = State<Arc<Engine>>;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/containers/json", get(list))
        .route("/containers/create", post(create))
        .route("/containers/prune", post(prune))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/pause", post(pause))
        .route("/containers/{id}/unpause", post(unpause))
        .route("/containers/{id}/rename", post(rename))
        .route("/containers/{id}/update", post(update))
        .route("/containers/{id}/wait", post(wait))
        .route("/containers/{id}/resize", post(resize))
        .route("/containers/{id}/top", get(top))
        .route("/containers/{id}/stats", get(stats))
        .route("/containers/{id}", delete(remove))
}

async fn list(State(engine): Shared, version: ApiVersion, params: Params) -> Result<Json<Vec<Value>>> {
    let limit: Option<i64> = params.number("limit")?;
    let options = ListOptions {
        all: params.flag("all"),
        limit: limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        size: params.flag("size"),
        filters: Filters::parse(params.get("filters"))?,
    };
    Ok(Json(engine.list(&options, version).await?))
}

async fn create(State(engine): Shared, params: Params, JsonBody(request): JsonBody<CreateRequest>) -> Result<Response> {
    let created = engine.create(params.get("name"), request).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"Id": created.id, "Warnings": created.warnings})),
    )
        .into_response())
}

async fn inspect(
    State(engine): Shared,
    version: ApiVersion,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>> {
    let container = engine.container(&id)?;
    Ok(Json(engine.inspect(&container, params.flag("size"), version).await))
}

async fn start(State(engine): Shared, Path(id): Path<String>) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    detached(async move { engine.start(&container).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs an operation to its end also when the client goes away half-way.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| Error::failed("operation", e))?
}

async fn stop(
    State(engine): Shared,
    version: ApiVersion,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    let (timeout, signal) = (params.number("t")?, signal(version, &params));
    detached(async move { engine.stop(&container, signal.as_deref(), timeout).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `signal` of stop and restart came with version 1.42.
fn signal(version: ApiVersion, params: &Params) -> Option<String> {
    params.get("signal").filter(|_| version.at_least(42)).map(str::to_owned)
}

async fn restart(
    State(engine): Shared,
    version: ApiVersion,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    let (timeout, signal) = (params.number("t")?, signal(version, &params));
    detached(async move { engine.restart(&container, signal.as_deref(), timeout).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    let signal = params.get("signal").map(str::to_owned);
    detached(async move { engine.kill(&container, signal.as_deref()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pause(State(engine): Shared, Path(id): Path<String>) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    detached(async move { engine.pause(&container).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unpause(State(engine): Shared, Path(id): Path<String>) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    detached(async move { engine.unpause(&container).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rename(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    engine
        .rename(&container, params.get("name").unwrap_or_default())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn update(
    State(engine): Shared,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<UpdateRequest>,
) -> Result<Json<Value>> {
    let container = engine.container(&id)?;
    Ok(Json(json!({"Warnings": engine.update(&container, request).await?})))
}

async fn resize(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    let (height, width) = size(&params)?;
    engine.resize(&container, "", height, width).await?;
    Ok(StatusCode::OK)
}

/// `h` and `w` of a resize.
pub(super) fn size(params: &Params) -> Result<(u32, u32)> {
    let number = |key| {
        params
            .number::<u32>(key)?
            .ok_or_else(|| Error::invalid(format!("invalid resize: {key} is missing")))
    };
    Ok((number("h")?, number("w")?))
}

async fn top(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<Json<Value>> {
    let container = engine.container(&id)?;
    Ok(Json(
        engine
            .top(&container, params.get("ps_args").unwrap_or_default())
            .await?,
    ))
}

async fn remove(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<StatusCode> {
    let container = engine.container(&id)?;
    if params.flag("link") {
        return Err(Error::not_implemented("links are not supported"));
    }
    let options = RemoveOptions {
        force: params.flag("force"),
        volumes: params.flag("v"),
    };
    detached(async move { engine.remove(&container, options).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(State(engine): Shared, params: Params) -> Result<Json<Value>> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let stale = move |container: &crate::engine::container::Container| {
        let record = container.record();
        let created = record.created.parse::<jiff::Timestamp>().ok();
        until.is_none_or(|until| created.is_some_and(|created| created < until))
            && filters.labels_fit(&record.config.labels)
    };
    let (removed, bytes) = engine.prune(stale).await;
    Ok(Json(json!({"ContainersDeleted": removed, "SpaceReclaimed": bytes})))
}

/// What a wait waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

async fn wait(State(engine): Shared, version: ApiVersion, Path(id): Path<String>, params: Params) -> Result<Response> {
    let container = engine.container(&id)?;
    let condition = match params.get("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(_) if !version.at_least(42) => Condition::NotRunning,
        Some(other) => return Err(Error::invalid(format!("invalid condition: \"{other}\""))),
    };
    // Subscribed before the headers go out: a client that has them may start the container.
    let mut life = container.life.subscribe();
    let exits = life.borrow().exits;
    let body = stream::once(async move {
        let met = life.wait_for(|life| match condition {
            Condition::NotRunning => !life.running || life.exits > exits || life.removed,
            Condition::NextExit => life.exits > exits || life.removed,
            Condition::Removed => life.removed || !life.error.is_empty(),
        });
        let (code, error) = match met.await {
            Ok(life) => (life.exit_code, life.error.clone()),
            Err(_) => (255, "the daemon is leaving".to_owned()),
        };
        // Kept until here: the sender lives in it.
        drop(container);
        let mut answer = json!({"StatusCode": code});
        if !error.is_empty() {
            answer["Error"] = json!({"Message": error});
        }
        Ok::<_, std::convert::Infallible>(Bytes::from(format!("{answer}\n")))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

async fn stats(State(engine): Shared, Path(id): Path<String>, params: Params) -> Result<Response> {
    let container = engine.container(&id)?;
    let streaming = params.get("stream").is_none() || params.flag("stream");
    if !streaming {
        let mut before = None;
        if !params.flag("one-shot") {
            before = Some(engine.stats(&container, None).await?);
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        return Ok(Json(engine.stats(&container, before.as_ref()).await?).into_response());
    }
    let body = stream::unfold(
        (engine, container, None::<Value>),
        |(engine, container, before)| async move {
            if before.is_some() {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            if container.life.borrow().removed {
                return None;
            }
            let value = engine.stats(&container, before.as_ref()).await.ok()?;
            let line = Bytes::from(format!("{value}\n"));
            Some((
                Ok::<_, std::convert::Infallible>(line),
                (engine, container, Some(value)),
            ))
        },
    );
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}
