//! What of an event subscribers may filter by: `namespace`, `topic`, and `event.FIELD` of the events that the API defines.

use containerd_proto::containerd::events as api;
use containerd_rs_core::Envelope;
use containerd_rs_core::filter::Adaptor;
use prost::{Message, Name};

/// An envelope as filters see it. The event in it is decoded only when a filter asks for it.
pub(crate) struct Fields<'a>(&'a Envelope);

impl<'a> Fields<'a> {
    pub(crate) fn new(envelope: &'a Envelope) -> Self {
        Fields(envelope)
    }
}

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[String]) -> Option<String> {
        match path {
            [first, rest @ ..] if first == "event" => event_field(self.0, rest),
            _ => self.0.field(path),
        }
    }
}

fn decode<M: Message + Name + Default>(envelope: &Envelope) -> Option<M> {
    let event = envelope.event.as_ref()?;
    let name = event.type_url.rsplit('/').next().unwrap_or_default();
    (name == M::full_name())
        .then(|| M::decode(event.value.as_slice()).ok())
        .flatten()
}

macro_rules! fields {
    ($envelope:expr, $name:expr, $($event:ident { $($field:ident),+ })*) => {
        $(if let Some(event) = decode::<api::$event>($envelope) {
            return match $name {
                $(stringify!($field) => Some(event.$field),)+
                _ => None,
            };
        })*
    };
}

fn event_field(envelope: &Envelope, path: &[String]) -> Option<String> {
    let [name] = path else {
        return None;
    };
    let value = known_field(envelope, name)?;
    (!value.is_empty()).then_some(value)
}

fn known_field(envelope: &Envelope, name: &str) -> Option<String> {
    fields!(envelope, name,
        TaskCreate { container_id, bundle, checkpoint }
        TaskStart { container_id }
        TaskDelete { container_id, id }
        TaskExit { container_id, id }
        TaskOom { container_id }
        TaskExecAdded { container_id, exec_id }
        TaskExecStarted { container_id, exec_id }
        TaskPaused { container_id }
        TaskResumed { container_id }
        TaskCheckpointed { container_id, checkpoint }
        ContainerCreate { id, image }
        ContainerUpdate { id, image, snapshot_key }
        ContainerDelete { id }
        ImageCreate { name }
        ImageUpdate { name }
        ImageDelete { name }
        NamespaceCreate { name }
        NamespaceUpdate { name }
        NamespaceDelete { name }
        SnapshotPrepare { key, parent, snapshotter }
        SnapshotCommit { key, name, snapshotter }
        SnapshotRemove { key, snapshotter }
        ContentCreate { digest }
        ContentDelete { digest }
    );
    None
}
