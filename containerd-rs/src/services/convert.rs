//! Between the messages of the API and the domain's types.

use std::collections::{BTreeMap, HashMap};

use containerd_proto::containerd::types as api;
use containerd_rs_core::{Any, Descriptor, Digest, Envelope, Labels, Mount, Result, Timestamp};

pub(crate) fn any(value: prost_types::Any) -> Any {
    Any {
        type_url: value.type_url,
        value: value.value,
    }
}

pub(crate) fn any_out(value: Any) -> prost_types::Any {
    prost_types::Any {
        type_url: value.type_url,
        value: value.value,
    }
}

pub(crate) fn anys(values: HashMap<String, prost_types::Any>) -> BTreeMap<String, Any> {
    values.into_iter().map(|(name, value)| (name, any(value))).collect()
}

pub(crate) fn anys_out(values: BTreeMap<String, Any>) -> HashMap<String, prost_types::Any> {
    values.into_iter().map(|(name, value)| (name, any_out(value))).collect()
}

pub(crate) fn labels(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().collect()
}

pub(crate) fn labels_out(labels: Labels) -> HashMap<String, String> {
    labels.into_iter().collect()
}

pub(crate) fn time(at: prost_types::Timestamp) -> Timestamp {
    Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    }
}

pub(crate) fn time_out(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    }
}

/// A length on the wire; negative ones are none.
pub(crate) fn size(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

pub(crate) fn size_out(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A digest that may be missing.
pub(crate) fn digest(text: &str) -> Result<Option<Digest>> {
    if text.is_empty() {
        Ok(None)
    } else {
        Digest::parse(text).map(Some)
    }
}

pub(crate) fn descriptor(value: api::Descriptor) -> Result<Descriptor> {
    Ok(Descriptor {
        media_type: value.media_type,
        digest: Digest::parse(&value.digest)?,
        size: size(value.size),
        annotations: labels(value.annotations),
    })
}

pub(crate) fn descriptor_out(value: Descriptor) -> api::Descriptor {
    api::Descriptor {
        media_type: value.media_type,
        digest: value.digest.into(),
        size: size_out(value.size),
        annotations: labels_out(value.annotations),
    }
}

pub(crate) fn mount(value: api::Mount) -> Mount {
    Mount {
        kind: value.r#type,
        source: value.source,
        target: value.target,
        options: value.options,
    }
}

pub(crate) fn mount_out(value: Mount) -> api::Mount {
    api::Mount {
        r#type: value.kind,
        source: value.source,
        target: value.target,
        options: value.options,
    }
}

pub(crate) fn envelope(value: api::Envelope) -> Envelope {
    Envelope {
        timestamp: value.timestamp.map(time).unwrap_or_default(),
        namespace: value.namespace,
        topic: value.topic,
        event: value.event.map(any),
    }
}

pub(crate) fn envelope_out(value: Envelope) -> api::Envelope {
    api::Envelope {
        timestamp: Some(time_out(value.timestamp)),
        namespace: value.namespace,
        topic: value.topic,
        event: value.event.map(any_out),
    }
}
