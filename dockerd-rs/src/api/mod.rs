//! HTTP in, operations out: routes, versions, headers.
//!
//! Every path exists bare and under `/v1.NN`. The prefix is taken off and judged in [`serve`], before routing, so routes know nothing of it;
//! a handler that cares takes [`ApiVersion`] as an argument.

mod attach;
mod containers;
mod events;
mod exec;
mod filters;
mod hijack;
pub mod images;
mod json;
mod logs;
mod networks;
mod query;
mod system;
mod time;
mod upload;
mod version;
mod volumes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use tower_service::Service;

pub use filters::Filters;
pub(crate) use filters::pattern_fits;
pub use json::JsonBody;
pub use query::Params;
pub use version::{ApiVersion, MAX_VERSION, MIN_VERSION};

use crate::engine::Engine;
use crate::error::Error;

/// All routes, over the daemon's state.
pub fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .merge(system::routes())
        .merge(events::routes())
        .merge(containers::routes())
        .merge(attach::routes())
        .merge(logs::routes())
        .merge(exec::routes())
        .merge(volumes::routes())
        .merge(networks::routes())
        .merge(images::routes())
        .fallback(|| async { Error::not_found("page not found") })
        .method_not_allowed_fallback(|| async { Error::not_found("page not found") })
        .with_state(engine)
}

/// Answers one request: version prefix, routing, the headers that every reply carries.
pub async fn serve(mut router: Router, mut request: Request<Body>) -> Response<Body> {
    let mut response = match version::strip_prefix(&mut request) {
        Err(error) => error.into_response(),
        Ok(_) if request.method() == Method::OPTIONS => StatusCode::OK.into_response(),
        Ok(version) => {
            request.extensions_mut().insert(version);
            tracing::debug!(method = %request.method(), uri = %request.uri(), "request");
            let rest = upload::keep(&mut request);
            let response = match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let refused = response.status().is_client_error() || response.status().is_server_error();
            if let Some(rest) = rest.filter(|_| refused) {
                rest.read_away().await;
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(version::MAX_TEXT));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    response
}
