//! Routes of volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiVersion, Filters, JsonBody, Params};
use crate::engine::volumes::{ANONYMOUS, Volume, size};
use crate::engine::{Engine, blocking};
use crate::error::{Error, ErrorKind, Result};

type Shared = State<Arc<Engine>>;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove))
}

fn show(engine: &Engine, volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": Some(&volume.labels).filter(|labels| !labels.is_empty()),
        "Mountpoint": engine.volumes.data(&volume.name),
        "Name": volume.name,
        "Options": Some(&volume.options).filter(|options| !options.is_empty()),
        "Scope": "local",
    })
}

async fn list(State(engine): Shared, params: Params) -> Result<Json<Value>> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&["dangling", "driver", "label", "name"])?;
    let dangling = filters
        .get("dangling")
        .first()
        .map(|text| matches!(text.as_str(), "true" | "1"));
    let fits = |volume: &Volume| {
        let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
            let values = filters.get(key);
            values.is_empty() || values.iter().any(|value| fits(value))
        };
        any("name", &|name| super::pattern_fits(name, &volume.name))
            && any("driver", &|driver| driver == "local")
            && filters.labels_fit(&volume.labels)
            && dangling.is_none_or(|dangling| engine.volume_users(&volume.name).is_empty() == dangling)
    };
    let volumes: Vec<Value> = engine
        .volumes
        .list()
        .iter()
        .filter(|volume| fits(volume))
        .map(|volume| show(&engine, volume))
        .collect();
    Ok(Json(json!({"Volumes": volumes, "Warnings": null})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateRequest {
    name: String,
    driver: String,
    driver_opts: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

async fn create(State(engine): Shared, JsonBody(request): JsonBody<CreateRequest>) -> Result<Response> {
    let name = Some(request.name.as_str()).filter(|name| !name.is_empty());
    let (volume, made) = engine
        .volumes
        .create(name, &request.driver, request.labels, request.driver_opts)?;
    if made {
        engine
            .events
            .emit("volume", "create", &volume.name, [("driver", "local")]);
    }
    Ok((StatusCode::CREATED, Json(show(&engine, &volume))).into_response())
}

async fn inspect(State(engine): Shared, Path(name): Path<String>) -> Result<Json<Value>> {
    Ok(Json(show(&engine, &engine.volumes.get(&name)?)))
}

async fn remove(State(engine): Shared, Path(name): Path<String>, params: Params) -> Result<StatusCode> {
    let users = engine.volume_users(&name);
    if !users.is_empty() {
        return Err(Error::conflict(format!(
            "remove {name}: volume is in use - [{}]",
            users.join(", ")
        )));
    }
    let outcome = {
        let (engine, name) = (Arc::clone(&engine), name.clone());
        blocking(move || engine.volumes.remove(&name)).await
    };
    match outcome {
        Ok(()) => engine.events.emit("volume", "destroy", &name, [("driver", "local")]),
        Err(error) if error.kind == ErrorKind::NotFound && params.flag("force") => {}
        Err(error) => return Err(error),
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(State(engine): Shared, version: ApiVersion, params: Params) -> Result<Json<Value>> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&["all", "label", "label!"])?;
    let all = !version.at_least(42)
        || filters
            .get("all")
            .iter()
            .any(|text| matches!(text.as_str(), "true" | "1"));
    let mut removed = Vec::new();
    let mut bytes = 0;
    for volume in engine.volumes.list() {
        let wanted = (all || volume.labels.contains_key(ANONYMOUS)) && filters.labels_fit(&volume.labels);
        if !wanted || !engine.volume_users(&volume.name).is_empty() {
            continue;
        }
        let (own, name) = (Arc::clone(&engine), volume.name.clone());
        let freed = blocking(move || {
            let freed = size(&own.volumes.data(&name));
            own.volumes.remove(&name).map(|()| freed)
        });
        match freed.await {
            Ok(freed) => {
                bytes += freed;
                engine
                    .events
                    .emit("volume", "destroy", &volume.name, [("driver", "local")]);
                removed.push(volume.name);
            }
            Err(error) => tracing::warn!(volume = %volume.name, %error, "not pruned"),
        }
    }
    engine
        .events
        .emit("volume", "prune", "", [("reclaimed", bytes.to_string())]);
    Ok(Json(json!({"VolumesDeleted": removed, "SpaceReclaimed": bytes})))
}

/// Every volume, with its bytes and how many containers have it.
pub(super) fn usage(engine: &Engine) -> Vec<Value> {
    let with_usage = |volume: Volume| {
        let mut value = show(engine, &volume);
        let (bytes, users) = (
            size(&engine.volumes.data(&volume.name)),
            engine.volume_users(&volume.name).len(),
        );
        value["UsageData"] = json!({"Size": bytes, "RefCount": users});
        value
    };
    engine.volumes.list().into_iter().map(with_usage).collect()
}
