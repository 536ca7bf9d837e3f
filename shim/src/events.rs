//! Events for the manager, in order, until it has them.
//!
//! containerd's own shims give up after about fifteen seconds, and an exit that happens while a daemon is being replaced is lost. Here the queue
//! waits for as long as the shim lives; it is bounded by dropping the oldest. `State` and `Wait` remain the truth for whoever missed one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_proto::containerd::types::Envelope;
use containerd_ttrpc::containerd::services::events::ttrpc::v1::EventsClient;
use containerd_ttrpc::{Client, Code, Context, Status};
use prost::{Message, Name};
use tokio::sync::watch;

/// The most events that are kept, as containerd's shims have it.
const CAPACITY: usize = 2048;
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an event is sent that the manager refuses, as opposed to one that does not reach it.
const REFUSALS: u32 = 5;

/// A queue of events, and the manager at its other end.
#[derive(Debug)]
pub(crate) struct Events {
    namespace: String,
    /// `None`: nobody wants events.
    address: Option<PathBuf>,
    queue: Mutex<VecDeque<Envelope>>,
    /// How many there are in the queue.
    length: watch::Sender<usize>,
}

impl Events {
    /// Events of a namespace for the manager at a ttrpc address (a path, with or without `unix://`; empty for none).
    pub(crate) fn new(namespace: &str, address: &str) -> Arc<Self> {
        let address = address.strip_prefix("unix://").unwrap_or(address);
        Arc::new(Self {
            namespace: namespace.to_owned(),
            address: (!address.is_empty()).then(|| PathBuf::from(address)),
            queue: Mutex::default(),
            length: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Envelope>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event.
    pub(crate) fn publish<M: Message + Name>(&self, topic: &str, event: &M) {
        if self.address.is_none() {
            return;
        }
        let envelope = Envelope {
            timestamp: Some(containerd_proto::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(containerd_proto::pack(event)),
        };
        let mut queue = self.lock();
        if queue.len() >= CAPACITY {
            let lost = queue.pop_front();
            tracing::error!(
                topic = lost.map(|e| e.topic),
                "the manager is away for too long: an event is dropped"
            );
        }
        queue.push_back(envelope);
        self.length.send_replace(queue.len());
    }

    /// Waits until everything is delivered, or `patience` is over.
    pub(crate) async fn flush(&self, patience: Duration) {
        let mut length = self.length.subscribe();
        let empty = length.wait_for(|length| *length == 0);
        if tokio::time::timeout(patience, empty).await.is_err() {
            tracing::warn!(
                left = self.lock().len(),
                "events were not delivered before the end of the shim"
            );
        }
    }

    /// Delivers, for ever.
    pub(crate) async fn deliver(self: Arc<Self>) {
        let Some(address) = self.address.clone() else { return };
        let mut length = self.length.subscribe();
        let mut client = None;
        let (mut refused, mut pause) = (0, Duration::from_millis(20));
        while length.wait_for(|length| *length > 0).await.is_ok() {
            let Some(envelope) = self.lock().front().cloned() else {
                continue;
            };
            match send(&address, &mut client, envelope).await {
                Ok(()) => {}
                Err(status) if is_refusal(&status) && refused + 1 >= REFUSALS => {
                    tracing::error!(%status, "the manager refuses an event: it is dropped");
                }
                Err(status) => {
                    tracing::debug!(%status, "deliver event");
                    refused += u32::from(is_refusal(&status));
                    client = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    continue;
                }
            }
            (refused, pause) = (0, Duration::from_millis(20));
            let mut queue = self.lock();
            queue.pop_front();
            if queue.is_empty() {
                queue.shrink_to(8);
            }
            self.length.send_replace(queue.len());
        }
    }
}

async fn send(address: &Path, client: &mut Option<Client>, envelope: Envelope) -> Result<(), Status> {
    let connection = match client.take().filter(|client| !client.is_closed()) {
        Some(connection) => connection,
        None => Client::connect(address)
            .await
            .map_err(|e| Status::unavailable(format!("{}: {e}", address.display())))?,
    };
    let context = Context::namespace(envelope.namespace.clone()).with_timeout(PATIENCE);
    let request = ForwardRequest {
        envelope: Some(envelope),
    };
    EventsClient::new(connection.clone())
        .forward(&context, &request)
        .await?;
    *client = Some(connection);
    Ok(())
}

/// Whether the manager was there and did not want the event.
fn is_refusal(status: &Status) -> bool {
    !matches!(
        status.code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}
