//! Routes of networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dockerd_rs_network::{IpamPool, Network, NetworkSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Filters, JsonBody, Params};
use crate::engine::model::EndpointSettings;
use crate::engine::{Engine, blocking};
use crate::error::{Error, Result};

type Shared = State<Arc<Engine>>;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

fn show(network: &Network, containers: bool) -> Value {
    let created =
        jiff::Timestamp::try_from(network.created).map_or_else(|_| String::new(), |stamp| format!("{stamp:.9}"));
    let pools: Vec<Value> = network.ipam.iter().map(pool).collect();
    let mut value = json!({
        "Name": network.name,
        "Id": network.id,
        "Created": created,
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": pools},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    });
    if containers {
        let all: BTreeMap<&str, Value> = network
            .endpoints
            .iter()
            .map(|endpoint| {
                let shown = json!({
                    "Name": endpoint.container_name,
                    "EndpointID": endpoint.endpoint_id,
                    "MacAddress": endpoint.mac.map_or_else(String::new, |mac| mac.to_string()),
                    "IPv4Address": endpoint.ipv4.map_or_else(String::new, |net| net.to_string()),
                    "IPv6Address": "",
                });
                (endpoint.container_id.as_str(), shown)
            })
            .collect();
        value["Containers"] = json!(all);
    }
    value
}

fn pool(pool: &IpamPool) -> Value {
    let mut value = json!({});
    if let Some(subnet) = pool.subnet {
        value["Subnet"] = json!(subnet.to_string());
    }
    if let Some(range) = pool.ip_range {
        value["IPRange"] = json!(range.to_string());
    }
    if let Some(gateway) = pool.gateway {
        value["Gateway"] = json!(gateway.to_string());
    }
    if !pool.auxiliary.is_empty() {
        value["AuxiliaryAddresses"] = json!(pool.auxiliary);
    }
    value
}

async fn list(State(engine): Shared, params: Params) -> Result<Json<Vec<Value>>> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let fits = |network: &Network| {
        let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
            let values = filters.get(key);
            values.is_empty() || values.iter().any(|value| fits(value))
        };
        let builtin = predefined(network);
        any("name", &|name| network.name.contains(name))
            && any("id", &|id| network.id.starts_with(id))
            && any("driver", &|driver| network.driver == driver)
            && any("scope", &|scope| network.scope == scope)
            && any("type", &|kind| (kind == "builtin") == builtin)
            && any("dangling", &|text| {
                matches!(text, "true" | "1") == (!builtin && network.endpoints.is_empty())
            })
            && filters.labels_fit(&network.labels)
    };
    Ok(Json(
        engine
            .network
            .networks()
            .iter()
            .filter(|network| fits(network))
            .map(|network| show(network, false))
            .collect(),
    ))
}

fn predefined(network: &Network) -> bool {
    matches!(network.name.as_str(), "bridge" | "host" | "none")
}

async fn inspect(State(engine): Shared, Path(id): Path<String>) -> Result<Json<Value>> {
    Ok(Json(show(&engine.network.network(&id)?, true)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateRequest {
    name: String,
    driver: String,
    internal: bool,
    attachable: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Vec<IpamConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpamConfig {
    #[serde(rename = "Subnet")]
    subnet: String,
    #[serde(rename = "IPRange")]
    ip_range: String,
    #[serde(rename = "Gateway")]
    gateway: String,
    #[serde(rename = "AuxiliaryAddresses")]
    auxiliary: BTreeMap<String, String>,
}

fn spec(request: CreateRequest) -> Result<NetworkSpec> {
    if request.enable_ipv6 {
        return Err(Error::not_implemented("IPv6 networks are not supported"));
    }
    let address = |text: &str| {
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
    };
    let mut ipam = IpamPool::default();
    match request.ipam.config.as_slice() {
        [] => {}
        [one] => {
            ipam.subnet = Some(one.subnet.as_str())
                .filter(|text| !text.is_empty())
                .map(str::parse)
                .transpose()?;
            ipam.ip_range = Some(one.ip_range.as_str())
                .filter(|text| !text.is_empty())
                .map(str::parse)
                .transpose()?;
            ipam.gateway = Some(one.gateway.as_str())
                .filter(|text| !text.is_empty())
                .map(address)
                .transpose()?;
            ipam.auxiliary = one
                .auxiliary
                .iter()
                .map(|(name, text)| Ok((name.clone(), address(text)?)))
                .collect::<Result<_>>()?;
        }
        _ => {
            return Err(Error::not_implemented(
                "networks with several subnets are not supported",
            ));
        }
    }
    Ok(NetworkSpec {
        name: request.name,
        driver: request.driver,
        internal: request.internal,
        attachable: request.attachable,
        ipam,
        options: request.options,
        labels: request.labels,
    })
}

async fn create(State(engine): Shared, JsonBody(request): JsonBody<CreateRequest>) -> Result<Response> {
    let spec = spec(request)?;
    let network = {
        let engine = Arc::clone(&engine);
        blocking(move || Ok(engine.network.create_network(spec)?)).await?
    };
    engine.events.emit(
        "network",
        "create",
        &network.id,
        [("name", network.name.as_str()), ("type", network.driver.as_str())],
    );
    Ok((StatusCode::CREATED, Json(json!({"Id": network.id, "Warning": ""}))).into_response())
}

async fn remove(State(engine): Shared, Path(id): Path<String>) -> Result<StatusCode> {
    take_away(&engine, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn take_away(engine: &Arc<Engine>, id: &str) -> Result<Network> {
    let network = engine.network.network(id)?;
    let (own, id) = (Arc::clone(engine), network.id.clone());
    blocking(move || Ok(own.network.remove_network(&id)?)).await?;
    engine.events.emit(
        "network",
        "destroy",
        &network.id,
        [("name", network.name.as_str()), ("type", network.driver.as_str())],
    );
    Ok(network)
}

async fn prune(State(engine): Shared, params: Params) -> Result<Json<Value>> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let mut removed = Vec::new();
    for network in engine.network.networks() {
        let old =
            jiff::Timestamp::try_from(network.created).is_ok_and(|created| until.is_none_or(|until| created < until));
        if predefined(&network) || !network.endpoints.is_empty() || !old || !filters.labels_fit(&network.labels) {
            continue;
        }
        match take_away(&engine, &network.id).await {
            Ok(network) => removed.push(network.name),
            Err(error) => tracing::warn!(network = %network.name, %error, "not pruned"),
        }
    }
    engine.events.emit("network", "prune", "", [("reclaimed", "0")]);
    Ok(Json(json!({"NetworksDeleted": removed})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConnectRequest {
    container: String,
    endpoint_config: EndpointSettings,
    force: bool,
}

async fn connect(
    State(engine): Shared,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<ConnectRequest>,
) -> Result<StatusCode> {
    let container = engine.container(&request.container)?;
    engine.connect(&container, &id, request.endpoint_config).await?;
    Ok(StatusCode::OK)
}

async fn disconnect(
    State(engine): Shared,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<ConnectRequest>,
) -> Result<StatusCode> {
    match engine.container(&request.container) {
        Ok(container) => engine.disconnect(&container, &id).await?,
        Err(error) if !request.force => return Err(error),
        Err(_) => {}
    }
    Ok(StatusCode::OK)
}
