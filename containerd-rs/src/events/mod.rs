//! The exchange: whoever publishes, whoever listens, and nothing kept for whoever comes later.
//!
//! Publishing never blocks. A subscriber has a queue of [`QUEUE`] events; one that does not read is cut off with an error, so
//! that it knows that it missed something, and asks for the state of things, which is the truth anyway.

mod fields;

use std::sync::{Arc, Mutex, PoisonError};

use containerd_rs_core::filter::Filters;
use containerd_rs_core::{Any, Envelope, Error, EventPublisher, Result, Timestamp, validate_identifier};
use prost::{Message, Name};
use tokio::sync::mpsc;

use fields::Fields;

/// Events that may wait for one subscriber.
pub(crate) const QUEUE: usize = 8192;

/// The exchange; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange(Arc<Mutex<Vec<Subscriber>>>);

#[derive(Debug)]
struct Subscriber {
    filters: Filters,
    queue: mpsc::Sender<Arc<Envelope>>,
}

impl Exchange {
    /// Listens to what passes the filters from now on. The receiver ends when it fell too far behind.
    pub(crate) fn subscribe<S: AsRef<str>>(&self, filters: &[S]) -> Result<mpsc::Receiver<Arc<Envelope>>> {
        let filters = Filters::parse(filters)?;
        let (queue, events) = mpsc::channel(QUEUE);
        self.lock().push(Subscriber { filters, queue });
        Ok(events)
    }

    /// How many listen.
    pub(crate) fn subscribers(&self) -> usize {
        self.lock().iter().filter(|s| !s.queue.is_closed()).count()
    }

    /// Publishes what happened here and now.
    pub(crate) fn emit<M: Message + Name>(&self, namespace: &str, topic: &str, event: &M) {
        self.publish(Envelope {
            timestamp: Timestamp::now(),
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            event: Some(Any {
                type_url: M::full_name(),
                value: event.encode_to_vec(),
            }),
        });
    }

    /// Publishes what somebody else says has happened.
    ///
    /// # Errors
    /// `InvalidArgument`, in containerd's words, for an envelope that is not whole.
    pub(crate) fn forward(&self, event: Envelope) -> Result<()> {
        validate(&event)?;
        self.publish(event);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventPublisher for Exchange {
    fn publish(&self, event: Envelope) {
        tracing::debug!(topic = event.topic, namespace = event.namespace, "event");
        let event = Arc::new(event);
        let mut subscribers = self.lock();
        if subscribers.is_empty() {
            return;
        }
        let fields = Fields::new(&event);
        subscribers.retain(|subscriber| {
            if subscriber.queue.is_closed() {
                return false;
            }
            if !subscriber.filters.matches(&fields) {
                return true;
            }
            match subscriber.queue.try_send(Arc::clone(&event)) {
                Ok(()) => true,
                Err(error) => {
                    if matches!(error, mpsc::error::TrySendError::Full(_)) {
                        tracing::warn!(queue = QUEUE, "an event subscriber does not keep up and is cut off");
                    }
                    false
                }
            }
        });
    }
}

/// Checks an envelope from outside (containerd, `events/exchange`).
fn validate(event: &Envelope) -> Result<()> {
    validate_identifier(&event.namespace).map_err(|e| e.context("event envelope has invalid namespace"))?;
    validate_topic(&event.topic).map_err(|e| e.context(format!("envelope topic {:?}", event.topic)))?;
    if event.timestamp == Timestamp::default() {
        return Err(Error::InvalidArgument(
            "timestamp must be set on forwarded event".into(),
        ));
    }
    Ok(())
}

/// Checks a topic: identifiers after slashes.
pub(crate) fn validate_topic(topic: &str) -> Result<()> {
    if topic.is_empty() {
        return Err(Error::InvalidArgument("must not be empty".into()));
    }
    let Some(rest) = topic.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        let problem = if topic == "/" {
            "must have at least one component"
        } else {
            "must start with '/'"
        };
        return Err(Error::InvalidArgument(problem.into()));
    };
    for component in rest.split('/') {
        validate_identifier(component)
            .map_err(|e| e.context(format!("failed validation on component {component:?}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_proto::containerd::events::{TaskExit, TaskStart};

    fn start(container: &str) -> TaskStart {
        TaskStart {
            container_id: container.into(),
            pid: 1,
        }
    }

    #[tokio::test]
    async fn subscriber_gets_what_its_filter_lets_pass() {
        let exchange = Exchange::default();
        let mut moby = exchange.subscribe(&["namespace==moby,topic~=|^/tasks/|"]).unwrap();
        let mut one = exchange.subscribe(&["event.container_id==b"]).unwrap();
        exchange.emit("default", "/tasks/start", &start("a"));
        exchange.emit("moby", "/tasks/start", &start("b"));
        exchange.emit("moby", "/images/create", &TaskExit::default());
        drop(exchange);
        let event = moby.recv().await.unwrap();
        assert_eq!(
            (event.namespace.as_str(), event.topic.as_str()),
            ("moby", "/tasks/start")
        );
        assert!(moby.recv().await.is_none());
        assert_eq!(one.recv().await.unwrap().namespace, "moby");
        assert!(one.recv().await.is_none());
    }

    #[tokio::test]
    async fn subscriber_that_does_not_read_is_cut_off_and_others_are_not() {
        let exchange = Exchange::default();
        let mut slow = exchange.subscribe::<&str>(&[]).unwrap();
        for _ in 0..=QUEUE {
            exchange.emit("n", "/tasks/start", &start("c"));
        }
        let mut quick = exchange.subscribe::<&str>(&[]).unwrap();
        exchange.emit("n", "/tasks/start", &start("d"));
        assert!(quick.recv().await.is_some());
        let mut seen = 0;
        while slow.recv().await.is_some() {
            seen += 1;
        }
        assert_eq!(seen, QUEUE);
        assert_eq!(exchange.subscribers(), 1);
    }

    #[test]
    fn envelope_from_outside_must_be_whole() {
        let good = Envelope {
            timestamp: Timestamp { seconds: 1, nanos: 0 },
            namespace: "n".into(),
            topic: "/tasks/exit".into(),
            event: None,
        };
        let exchange = Exchange::default();
        exchange.forward(good.clone()).unwrap();
        for bad in [
            Envelope {
                timestamp: Timestamp::default(),
                ..good.clone()
            },
            Envelope {
                namespace: String::new(),
                ..good.clone()
            },
            Envelope {
                topic: "tasks".into(),
                ..good.clone()
            },
            Envelope {
                topic: "/".into(),
                ..good.clone()
            },
            Envelope {
                topic: "/tasks//exit".into(),
                ..good.clone()
            },
        ] {
            assert_eq!(
                exchange.forward(bad).unwrap_err().kind(),
                containerd_rs_core::Kind::InvalidArgument
            );
        }
    }
}
