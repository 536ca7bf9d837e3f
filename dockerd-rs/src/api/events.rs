//! `GET /events`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;

use super::{ApiVersion, Filters, Params, time};
use crate::engine::Engine;
use crate::engine::events::Event;
use crate::error::Result;

const KNOWN: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/events", get(events))
}

async fn events(State(engine): State<Arc<Engine>>, version: ApiVersion, params: Params) -> Result<Response> {
    let filters = Filters::parse(params.get("filters"))?;
    filters.check(&KNOWN)?;
    let (since, until) = (time::nanos(params.get("since"))?, time::nanos(params.get("until"))?);
    let (ring, receiver) = engine.events.subscribe();
    let in_time = move |event: &Event| until.is_none_or(|until| i128::from(event.time_nano) <= until);
    let past: Vec<Event> = ring
        .into_iter()
        .filter(|event| since.is_some_and(|since| i128::from(event.time_nano) >= since) && in_time(event))
        .collect();
    let left = until.map(|until| until - jiff::Timestamp::now().as_nanosecond());
    let end = left.map(|left| tokio::time::Instant::now() + Duration::from_nanos(u64::try_from(left).unwrap_or(0)));
    let live = stream::unfold(receiver, move |mut receiver| async move {
        loop {
            let next = match end {
                Some(end) => tokio::time::timeout_at(end, receiver.recv()).await.ok()?,
                None => receiver.recv().await,
            };
            match next {
                Ok(event) => return Some((event, receiver)),
                Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "a listener is too slow"),
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let body = stream::iter(past).chain(live).filter_map(move |event| {
        let fits = in_time(&event) && fits(&filters, &event);
        async move { fits.then(|| Ok::<_, std::convert::Infallible>(line(event, version))) }
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

fn line(mut event: Event, version: ApiVersion) -> Bytes {
    if version.at_least(52) {
        for old in [&mut event.status, &mut event.id, &mut event.from] {
            old.clear();
        }
    }
    // A struct of strings and numbers always serializes.
    let mut text = serde_json::to_vec(&event).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn fits(filters: &Filters, event: &Event) -> bool {
    let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.get(key);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let attribute = |key: &str| event.actor.attributes.get(key).map_or("", String::as_str);
    let about = |kind: &str| {
        any(kind, &|wanted| {
            event.kind == kind
                && (event.actor.id == wanted
                    || (!wanted.is_empty() && event.actor.id.starts_with(wanted))
                    || attribute("name") == wanted)
        })
    };
    any("type", &|kind| event.kind == kind)
        && any("event", &|action| {
            event.action == action || event.action.split(':').next() == Some(action)
        })
        && any("scope", &|scope| event.scope == scope)
        && any("container", &|wanted| {
            event.kind == "container" && (event.actor.id.starts_with(wanted) || attribute("name") == wanted)
        })
        && any("image", &|wanted| {
            let name = if event.kind == "container" {
                attribute("image")
            } else {
                event.actor.id.as_str()
            };
            name == wanted || attribute("name") == wanted || name.split(':').next() == Some(wanted)
        })
        && about("network")
        && about("volume")
        && about("daemon")
        && filters.labels_fit(&event.actor.attributes)
}
