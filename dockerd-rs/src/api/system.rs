//! `_ping`, `version`, `info`, `events`, `auth`.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::engine::Engine;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/_ping", get(ping))
}

async fn ping() -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    (headers, "OK")
}
