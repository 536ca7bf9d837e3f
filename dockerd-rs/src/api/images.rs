//! Routes of images and of registries' credentials.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use containerd_rs_registry::Credentials;
use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{ApiVersion, JsonBody};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::images::filters::Filters;
use crate::images::import::ImportRequest;
use crate::images::list::{LIST_FILTERS, ListOptions};
use crate::images::progress::{self, Lines};
use crate::images::pull::PullRequest;
use crate::images::remove::PRUNE_FILTERS;
use crate::images::{Platform, Reference};

/// The routes under `/images`, and `/auth`.
pub fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/auth", post(login))
        .route("/images/create", post(create))
        .route("/images/json", get(list))
        .route("/images/get", get(save))
        .route("/images/load", post(load))
        .route("/images/prune", post(prune))
        // Names have slashes: the rest of the path is a name and, for some, an operation.
        .route("/images/{*rest}", get(get_of).post(post_of).delete(delete_of))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ListQuery {
    filters: String,
    filter: String,
    shared_size: String,
}

/// `GET /images/json`.
async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListQuery>,
    version: ApiVersion,
) -> Result<Json<Vec<Value>>> {
    let mut text = query.filters;
    if text.is_empty() && !query.filter.is_empty() {
        text = serde_json::json!({ "reference": [query.filter] }).to_string();
    }
    let filters = Filters::parse(&text, &LIST_FILTERS)?;
    let options = ListOptions {
        shared_size: truth(&query.shared_size),
    };
    engine.images.list(&filters, options, version).await.map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FiltersQuery {
    filters: String,
}

/// `POST /images/prune`.
async fn prune(State(engine): State<Arc<Engine>>, Query(query): Query<FiltersQuery>) -> Result<Json<Value>> {
    let filters = Filters::parse(&query.filters, &PRUNE_FILTERS)?;
    engine.images.prune(&filters).await.map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OneQuery {
    platform: String,
    repo: String,
    tag: String,
    force: String,
}

impl OneQuery {
    /// The platform: `os/arch`, or from 1.48 on an object as JSON.
    fn platform(&self) -> Result<Option<Platform>> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Parts {
            os: String,
            architecture: String,
            variant: String,
        }
        if self.platform.is_empty() {
            return Ok(None);
        }
        if self.platform.starts_with('{') {
            let parts: Parts = serde_json::from_str(&self.platform)
                .map_err(|e| Error::invalid(format!("failed to parse platform: {e}")))?;
            return Ok(Some(Platform::new(&parts.os, &parts.architecture, &parts.variant)));
        }
        Ok(Some(self.platform.parse()?))
    }
}

/// `GET /images/{name}/json`, `/history`.
async fn get_of(
    State(engine): State<Arc<Engine>>,
    Path(rest): Path<String>,
    Query(query): Query<OneQuery>,
    version: ApiVersion,
) -> Result<Response> {
    let platform = query.platform()?;
    match rest.rsplit_once('/') {
        Some((name, "json")) => {
            let found = engine.images.inspect(name, platform.as_ref(), version).await?;
            Ok(Json(found).into_response())
        }
        Some((name, "get")) => stream_archive(&engine, &[name.to_owned()]).await,
        Some((name, "history")) => {
            let steps = engine.images.history(name, platform.as_ref()).await?;
            Ok(Json(steps).into_response())
        }
        _ => Err(Error::not_found("page not found")),
    }
}

/// `POST /images/{name}/tag`.
async fn post_of(
    State(engine): State<Arc<Engine>>,
    Path(rest): Path<String>,
    Query(query): Query<OneQuery>,
) -> Result<StatusCode> {
    match rest.rsplit_once('/') {
        Some((name, "tag")) => {
            engine.images.tag(name, &query.repo, &query.tag).await?;
            Ok(StatusCode::CREATED)
        }
        Some((_, "push")) => Err(Error::not_implemented("pushing images is not supported yet")),
        _ => Err(Error::not_found("page not found")),
    }
}

/// `DELETE /images/{name}`.
async fn delete_of(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Query(query): Query<OneQuery>,
) -> Result<Json<Vec<Value>>> {
    engine.images.remove(&name, truth(&query.force)).await.map(Json)
}

/// Go's idea of a boolean in a query.
fn truth(text: &str) -> bool {
    !matches!(text.trim().to_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CreateQuery {
    from_image: String,
    from_src: String,
    repo: String,
    tag: String,
    message: String,
    platform: String,
}

/// `POST /images/create`: pull or import.
async fn create(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<CreateQuery>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let platform = match query.platform.as_str() {
        "" => None,
        text => Some(text.parse()?),
    };
    let (progress, lines, cancel) = progress::channel();
    let images = engine.images.clone();
    let (first, lines) = if query.from_image.is_empty() {
        let request = import_request(&query, raw.as_deref().unwrap_or_default(), platform)?;
        let work = async move { images.import(request, body, progress, cancel).await };
        progress::begin(lines, work).await?
    } else {
        let mut request = PullRequest::new(&query.from_image, &query.tag)?;
        request.platform = platform;
        request.credentials = credentials(&headers, &request.reference);
        let work = async move { images.pull(request, progress, cancel).await };
        progress::begin(lines, work).await?
    };
    Ok(stream_lines(first, lines))
}

fn import_request(query: &CreateQuery, raw: &str, platform: Option<Platform>) -> Result<ImportRequest> {
    if query.from_src != "-" {
        return Err(Error::not_implemented(format!(
            "importing from {:?} is not supported: send the archive",
            query.from_src
        )));
    }
    let reference = match (query.repo.as_str(), query.tag.as_str()) {
        ("", _) => None,
        (repository, "") => Some(Reference::parse(repository)?),
        (repository, tag) => Some(Reference::parse(&format!("{repository}:{tag}"))?),
    };
    if reference.as_ref().is_some_and(|r| r.digest().is_some()) {
        return Err(Error::invalid("cannot import digest reference"));
    }
    let pairs = url::form_urlencoded::parse(raw.as_bytes());
    let changes = pairs
        .filter(|(key, _)| key == "changes")
        .map(|(_, value)| value.into_owned())
        .collect();
    let message = if query.message.is_empty() {
        "Imported from -".to_owned()
    } else {
        query.message.clone()
    };
    Ok(ImportRequest {
        reference,
        changes,
        message,
        platform,
    })
}

/// `POST /images/load`.
async fn load(State(engine): State<Arc<Engine>>, body: Body) -> Result<Response> {
    let (progress, lines, cancel) = progress::channel();
    let images = engine.images.clone();
    let work = async move { images.load(body, progress, cancel).await };
    let (first, lines) = progress::begin(lines, work).await?;
    Ok(stream_lines(first, lines))
}

/// `GET /images/get?names=a&names=b`.
async fn save(State(engine): State<Arc<Engine>>, RawQuery(raw): RawQuery) -> Result<Response> {
    let raw = raw.unwrap_or_default();
    let pairs = url::form_urlencoded::parse(raw.as_bytes());
    let names: Vec<String> = pairs
        .filter(|(key, _)| key == "names")
        .map(|(_, value)| value.into_owned())
        .collect();
    let names: Vec<String> = names
        .iter()
        .flat_map(|n| n.split(','))
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(Error::invalid("no images to save"));
    }
    stream_archive(&engine, &names).await
}

async fn stream_archive(engine: &Engine, names: &[String]) -> Result<Response> {
    let archive = engine.images.save(names).await?;
    let mut response = Response::new(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(archive)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    Ok(response)
}

/// A reply of JSON lines, as they come. A client that goes away cancels the operation.
pub(crate) fn stream_lines(first: Option<Bytes>, lines: Lines) -> Response {
    let body = stream::unfold((first, lines), |(first, mut lines)| async move {
        let line = match first {
            Some(line) => Some(line),
            None => lines.next().await,
        };
        line.map(|line| (Ok::<_, std::io::Error>(line), (None, lines)))
    });
    let mut response = Response::new(Body::from_stream(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The `X-Registry-Auth` header (base64url of JSON, with or without padding).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthConfig {
    username: String,
    password: String,
    auth: String,
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

/// The credentials of a request, when they are for the registry of `reference`. Like Docker, a header that cannot be read
/// counts as none.
fn credentials(headers: &HeaderMap, reference: &Reference) -> Option<Credentials> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = headers.get("X-Registry-Auth")?.to_str().ok()?;
    let text = text.replace('+', "-").replace('/', "_");
    let json = GeneralPurpose::new(&URL_SAFE, config).decode(text.trim()).ok()?;
    let auth: AuthConfig = serde_json::from_slice(&json).ok()?;
    if !auth.serveraddress.is_empty() && hostname(&auth.serveraddress) != reference.domain() {
        tracing::warn!(given = %auth.serveraddress, wanted = reference.domain(), "credentials are for another registry");
        return None;
    }
    auth.credentials()
}

impl AuthConfig {
    /// The strongest of what it has.
    fn credentials(self) -> Option<Credentials> {
        if !self.registrytoken.is_empty() {
            return Some(Credentials::RegistryToken(self.registrytoken));
        }
        if !self.identitytoken.is_empty() {
            return Some(Credentials::IdentityToken(self.identitytoken));
        }
        if !self.username.is_empty() {
            return Some(Credentials::Basic {
                username: self.username,
                password: self.password,
            });
        }
        let plain = base64::engine::general_purpose::STANDARD.decode(&self.auth).ok()?;
        let (username, password) = std::str::from_utf8(&plain).ok()?.split_once(':')?;
        Some(Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// `POST /auth`: `docker login`.
async fn login(State(engine): State<Arc<Engine>>, JsonBody(auth): JsonBody<AuthConfig>) -> Result<Json<Value>> {
    let host = match auth.serveraddress.as_str() {
        "" => "docker.io".to_owned(),
        address => hostname(address).to_owned(),
    };
    let credentials = auth
        .credentials()
        .ok_or_else(|| Error::invalid("no credentials to log in with"))?;
    engine.images.login(&host, credentials).await?;
    Ok(Json(
        serde_json::json!({ "Status": "Login Succeeded", "IdentityToken": "" }),
    ))
}

/// `https://index.docker.io/v1/` to `docker.io`; else without scheme and path.
fn hostname(address: &str) -> &str {
    let bare = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    let host = bare.split('/').next().unwrap_or(bare);
    if host == "index.docker.io" { "docker.io" } else { host }
}
