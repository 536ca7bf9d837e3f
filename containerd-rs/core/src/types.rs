//! The nouns: context, labels, descriptors, and the records that are stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Result, Timestamp};

/// Labels of an object: names to values.
pub type Labels = BTreeMap<String, String>;

/// On whose behalf a call is made. In gRPC it travels in the headers `containerd-namespace` and `containerd-lease`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ctx {
    /// The namespace all names are looked up in.
    pub namespace: String,
    /// The lease that what the call makes is put under, if any.
    pub lease: Option<String>,
}

impl Ctx {
    /// A context in a namespace, without a lease.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is not an identifier.
    pub fn new(namespace: impl Into<String>) -> Result<Self> {
        let namespace = namespace.into();
        validate_identifier(&namespace).map_err(|e| e.context("namespace validation"))?;
        Ok(Ctx { namespace, lease: None })
    }

    /// The same context under a lease.
    #[must_use]
    pub fn with_lease(mut self, lease: Option<String>) -> Self {
        self.lease = lease.filter(|id| !id.is_empty());
        self
    }
}

/// Checks an identifier: letters and digits, with single `.`, `_` or `-` between them, at most 76 bytes.
///
/// # Errors
/// `InvalidArgument`, with containerd's words.
pub fn validate_identifier(id: &str) -> Result<()> {
    const MAX: usize = 76;
    if id.is_empty() {
        return Err(Error::InvalidArgument("identifier must not be empty".into()));
    }
    if id.len() > MAX {
        return Err(Error::InvalidArgument(format!(
            "identifier {id:?} greater than maximum length ({MAX} characters)"
        )));
    }
    let alnum = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    let ok = bytes.iter().enumerate().all(|(i, b)| match b {
        b'.' | b'_' | b'-' => i > 0 && alnum(bytes.get(i - 1)) && alnum(bytes.get(i + 1)),
        _ => b.is_ascii_alphanumeric(),
    });
    if ok {
        return Ok(());
    }
    let pattern = "^[A-Za-z0-9]+(?:[-_.](?:[A-Za-z0-9]+))*$";
    Err(Error::InvalidArgument(format!(
        "identifier {id:?} must match {pattern}"
    )))
}

/// Checks labels: name and value together at most 4096 bytes.
///
/// # Errors
/// `InvalidArgument`, with containerd's words.
pub fn validate_labels(labels: &Labels) -> Result<()> {
    const MAX: usize = 4096;
    for (key, value) in labels {
        let total = key.len() + value.len();
        if total > MAX {
            let shown: String = key.chars().take(64).collect();
            return Err(Error::InvalidArgument(format!(
                "label key and value length ({total} bytes) greater than maximum size ({MAX} bytes), key: {shown}"
            )));
        }
    }
    Ok(())
}

/// A typed value of another layer, carried without a look inside (protobuf's `Any`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Any {
    /// The type's name.
    pub type_url: String,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// A reference to content (OCI image spec, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Length in bytes; 0 when it is not known.
    pub size: u64,
    /// Annotations.
    pub annotations: Labels,
}

/// A namespace and its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// A name for content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name, most often a reference with a tag.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// The manifest or index it names.
    pub target: Descriptor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// The runtime of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its name, like `io.containerd.runc.v2`.
    pub name: String,
    /// Options for it.
    pub options: Option<Any>,
}

/// The record of a container: what a task is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Identifier, unique in the namespace.
    pub id: String,
    /// Labels.
    pub labels: Labels,
    /// Name of the image it was made from; may be empty.
    pub image: String,
    /// Runtime.
    pub runtime: Runtime,
    /// The OCI runtime spec.
    pub spec: Option<Any>,
    /// Name of the snapshotter; may be empty.
    pub snapshotter: String,
    /// Key of its snapshot; may be empty.
    pub snapshot_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Data of clients.
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to; may be empty.
    pub sandbox: String,
}

/// A lease: it keeps what it holds from collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Identifier.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Labels; `containerd.io/gc.expire` ends it, `containerd.io/gc.flat` keeps it from following references.
    pub labels: Labels,
}

/// Something that a lease holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// The digest, the snapshot's key or the ingest's ref.
    pub id: String,
    /// `content`, `ingests`, `images` or `snapshots/<snapshotter>`.
    pub kind: String,
}

/// The record of a sandbox (a pod).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Identifier.
    pub id: String,
    /// Labels.
    pub labels: Labels,
    /// Runtime.
    pub runtime: Runtime,
    /// The spec of the sandbox.
    pub spec: Option<Any>,
    /// Which controller runs it.
    pub sandboxer: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Data of clients.
    pub extensions: BTreeMap<String, Any>,
}

/// Something that happened, as subscribers get it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// When.
    pub timestamp: Timestamp,
    /// In which namespace.
    pub namespace: String,
    /// About what, like `/tasks/exit`.
    pub topic: String,
    /// The event itself.
    pub event: Option<Any>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_separators_inside() {
        for good in ["a", "moby", "k8s.io", "a-b_c.9"] {
            validate_identifier(good).unwrap();
        }
        for bad in ["", ".", "-a", "a-", "a..b", "a/b", "a b", "..", &"x".repeat(77)] {
            assert!(validate_identifier(bad).is_err(), "{bad}");
        }
        assert_eq!(
            validate_identifier("a/b").unwrap_err().to_string(),
            r#"identifier "a/b" must match ^[A-Za-z0-9]+(?:[-_.](?:[A-Za-z0-9]+))*$: invalid argument"#
        );
    }

    #[test]
    fn labels_have_a_limit() {
        validate_labels(&Labels::from([("k".into(), "v".repeat(4095))])).unwrap();
        assert!(validate_labels(&Labels::from([("k".into(), "v".repeat(4096))])).is_err());
    }
}
