//! Manifests and indexes: their media types, and the checks before one is believed.

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::RegistryError;
use crate::digest::clip;

/// Largest manifest, index or config that is read, in bytes (distribution spec: registries should take 4 MiB).
pub const DOCUMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The `Accept` value of every manifest request.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*";

/// Whether the media type is an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

/// Whether the media type is an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    media_type == OCI_MANIFEST || media_type == DOCKER_MANIFEST
}

/// Whether the media type is one of Docker's schema 1.
pub fn is_schema1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

/// Whether the media type is a layer: tar, plain or compressed, OCI's or Docker's.
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// A document that has been checked.
#[derive(Debug, Clone)]
pub enum Document {
    /// A list of manifests, by platform.
    Index(Box<ImageIndex>),
    /// One image: a config and its layers.
    Manifest(Box<ImageManifest>),
}

/// What is looked at before a document is parsed for good.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion", default)]
    schema_version: Option<i64>,
    #[serde(rename = "mediaType", default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers", default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Parses a manifest or an index of the media type its descriptor announced.
///
/// # Errors
/// [`RegistryError::Schema1`], [`RegistryError::TooLarge`], and [`RegistryError::Document`] for what is not JSON, is
/// index and manifest at once, or is not of the announced kind.
pub fn parse(media_type: &str, what: &str, bytes: &[u8]) -> Result<Document, RegistryError> {
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(RegistryError::TooLarge {
            what: what.to_owned(),
            limit: DOCUMENT_LIMIT,
        });
    }
    let bad = |reason: String| RegistryError::Document {
        what: what.to_owned(),
        reason,
    };
    let shape: Shape = serde_json::from_slice(bytes).map_err(|e| bad(format!("not a JSON document: {e}")))?;
    if is_schema1(media_type) || shape.fs_layers.is_some() || shape.schema_version == Some(1) {
        return Err(RegistryError::Schema1 {
            reference: what.to_owned(),
        });
    }
    if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(bad("has both manifests and layers".to_owned()));
    }
    if let Some(inner) = shape.media_type.as_deref().filter(|inner| !inner.is_empty())
        && inner != media_type
    {
        return Err(bad(format!(
            "calls itself {:?} but was announced as {:?}",
            clip(inner),
            clip(media_type)
        )));
    }
    if is_index(media_type) {
        let index = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        return Ok(Document::Index(Box::new(index)));
    }
    if is_manifest(media_type) {
        let manifest = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        return Ok(Document::Manifest(Box::new(manifest)));
    }
    Err(bad(format!("unsupported media type {:?}", clip(media_type))))
}

/// Finds the media type of a document whose server did not tell a usable one, from the document itself.
pub fn sniff(bytes: &[u8]) -> Option<String> {
    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    if let Some(media_type) = shape.media_type.filter(|m| !m.is_empty()) {
        return Some(media_type);
    }
    match (
        shape.manifests.is_some(),
        shape.layers.is_some() || shape.config.is_some(),
    ) {
        (true, false) => Some(OCI_INDEX.to_owned()),
        (false, true) => Some(OCI_MANIFEST.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESC: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    #[test]
    fn manifest_and_index_are_told_apart() {
        let manifest = format!(r#"{{"schemaVersion":2,"config":{DESC},"layers":[]}}"#);
        assert!(matches!(
            parse(OCI_MANIFEST, "m", manifest.as_bytes()),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            parse(OCI_INDEX, "m", br#"{"schemaVersion":2,"manifests":[]}"#),
            Ok(Document::Index(_))
        ));
        assert_eq!(sniff(manifest.as_bytes()).as_deref(), Some(OCI_MANIFEST));
    }

    #[test]
    fn confused_documents_are_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{DESC},"layers":[],"manifests":[]}}"#);
        for media_type in [OCI_MANIFEST, OCI_INDEX] {
            let error = parse(media_type, "m", both.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("both manifests and layers"), "{error}");
        }
        let lying = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","config":{DESC},"layers":[]}}"#);
        assert!(parse(OCI_MANIFEST, "m", lying.as_bytes()).is_err());
        assert_eq!(sniff(both.as_bytes()), None);
    }

    #[test]
    fn schema1_and_garbage_are_refused() {
        let old = br#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
        assert!(matches!(
            parse(OCI_MANIFEST, "m", old),
            Err(RegistryError::Schema1 { .. })
        ));
        for garbage in [&b"<html>"[..], b"", b"[]", b"{\"schemaVersion\":2}", b"null"] {
            assert!(parse(OCI_MANIFEST, "m", garbage).is_err());
        }
    }
}
