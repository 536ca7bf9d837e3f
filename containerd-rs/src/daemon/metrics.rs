//! `/v1/metrics` for Prometheus, when an address is set.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::get;
use containerd_rs::Engine;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Result;

/// Serves until the handle is aborted.
pub(super) async fn serve(address: &str, engine: Engine) -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("metrics address {address}: {e}"))?;
    tracing::info!(address, "serving metrics");
    let router = Router::new().route(
        "/v1/metrics",
        get(move || {
            let engine = engine.clone();
            async move {
                let text = engine.metrics().await;
                (
                    [(
                        CONTENT_TYPE,
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    )],
                    text,
                )
                    .into_response()
            }
        }),
    );
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the metrics server ended");
        }
    }))
}
