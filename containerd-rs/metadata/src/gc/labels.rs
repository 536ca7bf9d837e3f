//! The labels that make references.

use containerd_rs_core::{Labels, Timestamp};

use super::{Node, NodeKind};

/// The object goes after this time (RFC 3339): images and leases.
pub(crate) const LABEL_EXPIRE: &str = "containerd.io/gc.expire";
/// A lease that holds only what it names, and not what that refers to.
const LABEL_FLAT: &str = "containerd.io/gc.flat";
const LABEL_ROOT: &str = "containerd.io/gc.root";
const REFERENCE: &str = "containerd.io/gc.ref.";
const BACK_REFERENCE: &str = "containerd.io/gc.bref.";

/// Whether the object is a root by itself.
pub(crate) fn is_root(labels: &Labels) -> bool {
    labels.keys().any(|key| key.starts_with(LABEL_ROOT))
}

/// Whether a lease is flat.
pub(crate) fn is_flat(labels: &Labels) -> bool {
    labels.contains_key(LABEL_FLAT)
}

/// Whether the object's time is over. A time that cannot be read does not count.
pub(crate) fn is_expired(labels: &Labels, now: Timestamp) -> bool {
    labels
        .get(LABEL_EXPIRE)
        .is_some_and(|text| match Timestamp::parse(text) {
            Ok(at) => at < now,
            Err(error) => {
                tracing::info!(%error, "an expiry is not understood, and ignored");
                false
            }
        })
}

/// What the labels refer to.
pub(crate) fn references(namespace: &str, labels: &Labels) -> Vec<Node> {
    targets(REFERENCE, namespace, labels)
}

/// What the labels want to be referred by.
pub(crate) fn back_references(namespace: &str, labels: &Labels) -> Vec<Node> {
    targets(BACK_REFERENCE, namespace, labels)
}

fn targets(prefix: &str, namespace: &str, labels: &Labels) -> Vec<Node> {
    let of_prefix = labels
        .range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix));
    of_prefix
        .filter_map(|(key, value)| target(key.get(prefix.len()..)?, namespace, value))
        .collect()
}

/// `content`, `content.x` and `content/x` name content; `snapshot.S` and `snapshot.S/x` a snapshot of S.
fn target(what: &str, namespace: &str, value: &str) -> Option<Node> {
    if let Some(rest) = what.strip_prefix("snapshot.") {
        let snapshotter = rest.split('/').next().unwrap_or(rest);
        return Some(Node::new(
            NodeKind::Snapshot,
            namespace,
            format!("{snapshotter}/{value}"),
        ));
    }
    let (word, _) = what.split_once(['.', '/']).unwrap_or((what, ""));
    let kind = match word {
        "content" => NodeKind::Content,
        "image" => NodeKind::Image,
        "container" => NodeKind::Container,
        _ => return None,
    };
    Some(Node::new(kind, namespace, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_their_targets() {
        let labels: Labels = [
            ("containerd.io/gc.ref.content", "sha256:a"),
            ("containerd.io/gc.ref.content.m.0", "sha256:b"),
            ("containerd.io/gc.ref.content/l", "sha256:c"),
            ("containerd.io/gc.ref.contents", "sha256:no"),
            ("containerd.io/gc.ref.snapshot.overlayfs", "s1"),
            ("containerd.io/gc.ref.snapshot.overlayfs/x", "s2"),
            ("containerd.io/gc.root", "yes"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let found: Vec<_> = references("ns", &labels).into_iter().map(|node| node.key).collect();
        assert_eq!(
            found,
            ["sha256:a", "sha256:b", "sha256:c", "overlayfs/s1", "overlayfs/s2"]
        );
        assert!(is_root(&labels));
    }

    #[test]
    fn an_expiry_that_cannot_be_read_does_not_count() {
        let labels = |value: &str| Labels::from([(LABEL_EXPIRE.to_owned(), value.to_owned())]);
        assert!(is_expired(&labels("2001-01-01T00:00:00Z"), Timestamp::now()));
        assert!(!is_expired(&labels("2999-01-01T00:00:00Z"), Timestamp::now()));
        assert!(!is_expired(&labels("soon"), Timestamp::now()));
    }
}
