//! `--metrics-addr`: counts of containers in Prometheus' text format, with Docker's name.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::engine::Engine;
use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// Serves the counts until the daemon leaves.
pub(super) async fn serve(address: &str, engine: Arc<Engine>) -> Result<()> {
    let failed = |e| Error::failed(format!("listen on {address} for metrics"), e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let router = Router::new().route("/metrics", get(move || async move { text(&engine) }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are served no more");
        }
    });
    Ok(())
}

fn text(engine: &Engine) -> impl IntoResponse + use<> {
    let states = Family::<State, Gauge>::default();
    for state in ["running", "paused", "stopped"] {
        states.get_or_create(&State { state }).set(0);
    }
    for status in engine.statuses() {
        let state = match status {
            "running" | "restarting" => "running",
            "paused" => "paused",
            _ => "stopped",
        };
        states.get_or_create(&State { state }).inc();
    }
    let mut registry = Registry::with_prefix("engine_daemon");
    registry.register(
        "container_states_containers",
        "The count of containers in various states",
        states,
    );
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut out, &registry);
    (
        [(
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        out,
    )
}
