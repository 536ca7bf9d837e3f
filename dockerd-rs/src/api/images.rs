//! Routes of images.

use std::sync::Arc;

use axum::Router;

use crate::engine::Engine;

/// The routes under `/images`, and `/commit`, `/build`, `/distribution`.
pub fn routes() -> Router<Arc<Engine>> {
    Router::new()
}
