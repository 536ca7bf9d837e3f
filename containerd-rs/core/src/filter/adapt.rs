//! Which fields the objects of the manager have: containerd's names for them.

use super::Adaptor;
use crate::{Container, ContentInfo, Envelope, Image, IngestStatus, Labels, Lease, Namespace, Sandbox, SnapshotInfo};

/// `labels` alone asks whether there are any; the rest of the path is one name, whatever dots it has.
fn label(labels: &Labels, rest: &[String]) -> Option<String> {
    if rest.is_empty() {
        return (!labels.is_empty()).then(String::new);
    }
    labels.get(&rest.join(".")).cloned()
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn split(path: &[String]) -> (&str, &[String]) {
    path.split_first()
        .map_or(("", &[]), |(first, rest)| (first.as_str(), rest))
}

impl Adaptor for Container {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("id", []) => text(&self.id),
            ("image", []) => text(&self.image),
            ("runtime", [name]) if name == "name" => text(&self.runtime.name),
            ("snapshotter", []) => text(&self.snapshotter),
            ("snapshotkey", []) => text(&self.snapshot_key),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Image {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("name", []) => text(&self.name),
            ("target", [field]) if field == "digest" => text(self.target.digest.as_str()),
            ("target", [field]) if field == "mediatype" => text(&self.target.media_type),
            ("labels", rest) => label(&self.labels, rest),
            ("annotations", rest) => label(&self.target.annotations, rest),
            _ => None,
        }
    }
}

impl Adaptor for ContentInfo {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("digest", []) => text(self.digest.as_str()),
            ("size", []) => Some(self.size.to_string()),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for IngestStatus {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("ref", []) => text(&self.reference),
            _ => None,
        }
    }
}

impl Adaptor for SnapshotInfo {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("kind", []) => Some(self.kind.to_string()),
            ("name", []) => text(&self.name),
            ("parent", []) => text(&self.parent),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Lease {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("id", []) => text(&self.id),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Namespace {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("name", []) => text(&self.name),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Sandbox {
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("id", []) => text(&self.id),
            ("runtime", [name]) if name == "name" => text(&self.runtime.name),
            ("sandboxer", []) => text(&self.sandboxer),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Envelope {
    /// Fields inside the event are known to whoever can decode it; see the events service.
    fn field(&self, path: &[String]) -> Option<String> {
        match split(path) {
            ("namespace", []) => text(&self.namespace),
            ("topic", []) => text(&self.topic),
            _ => None,
        }
    }
}
