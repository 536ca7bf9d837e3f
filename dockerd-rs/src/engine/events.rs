//! What happened: a ring of the last events, and everyone who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Events kept for `since`.
const RING: usize = 256;
/// Events a slow listener may be behind before it loses some.
const BEHIND: usize = 1024;

/// Who an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Id of the thing, or its name where it has no id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, image, labels, exit code and the like.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// One event, as `GET /events` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Old name of the action, for containers and images.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub status: String,
    /// Old place of the id.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub id: String,
    /// Old place of the image's name.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `daemon`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die` and so on.
    #[serde(rename = "Action")]
    pub action: String,
    /// Who.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Unix time, seconds.
    pub time: i64,
    /// Unix time, nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Takes events in and hands them out.
#[derive(Debug)]
pub struct EventBus {
    ring: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            sender: broadcast::channel(BEHIND).0,
        }
    }
}

impl EventBus {
    /// Something happened to `id`, now.
    pub fn emit<K: Into<String>, V: Into<String>>(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) {
        let attributes: BTreeMap<String, String> = attributes.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let now = jiff::Timestamp::now();
        let old = matches!(kind, "container" | "image");
        let event = Event {
            status: if old { action.to_owned() } else { String::new() },
            id: if old { id.to_owned() } else { String::new() },
            from: if kind == "container" {
                attributes.get("image").cloned().unwrap_or_default()
            } else {
                String::new()
            },
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes,
            },
            scope: "local".to_owned(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // Sent under the lock, so that whoever subscribes sees each event once: in the ring or in the channel. No listener is no failure.
        let _ = self.sender.send(event);
    }

    /// What the ring holds, and everything that comes after.
    pub fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.iter().cloned().collect(), self.sender.subscribe())
    }
}

impl crate::images::ImageEvents for EventBus {
    fn image_event(&self, action: &str, id: &str, name: &str) {
        self.emit("image", action, id, [("name", name)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_and_listeners_get_the_rest() {
        let bus = EventBus::default();
        for n in 0..300 {
            bus.emit("container", "start", &format!("c{n}"), [("image", "busybox")]);
        }
        let (ring, mut receiver) = bus.subscribe();
        assert_eq!(
            (ring.len(), ring[0].id.as_str(), ring[0].from.as_str()),
            (256, "c44", "busybox")
        );
        bus.emit("volume", "create", "v", [("driver", "local")]);
        let event = receiver.try_recv().unwrap();
        assert_eq!((event.actor.id.as_str(), event.status.as_str()), ("v", ""));
    }
}
