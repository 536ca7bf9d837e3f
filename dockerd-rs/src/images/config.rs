//! The image config document (OCI image-spec `config.json`, with Docker's extensions).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The part of an image's configuration that containers inherit (OCI image-spec `config`, with Docker's extensions).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// Ports, such as `80/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `KEY=value`.
    pub env: Option<Vec<String>>,
    /// Default program.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub cmd: Option<Vec<String>>,
    /// Paths that get an anonymous volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// Working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that `stop` sends.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Docker's health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Shell of the shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Docker's triggers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
}

/// One step of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command of the step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers, by the digests of their uncompressed tars.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// From the bottom up.
    pub diff_ids: Vec<String>,
}

/// The whole document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageDocument {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// `v8` and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Windows only.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text (Docker).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// What made it (Docker).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// What containers inherit.
    pub config: ImageConfig,
    /// The layers.
    pub rootfs: RootFs,
    /// How it was made.
    pub history: Vec<HistoryEntry>,
}

impl ImageDocument {
    /// Parses a config blob. `what` names it in the error.
    ///
    /// # Errors
    /// 500 when it is not one, or names a layer by something that is not a digest.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let failed = |why: String| Error::failed(format!("invalid image config {what}"), why);
        let mut value: Value = serde_json::from_slice(bytes).map_err(|e| failed(e.to_string()))?;
        if !value.is_object() {
            return Err(failed("not a JSON object".to_owned()));
        }
        strip_nulls(&mut value);
        let document: Self = serde_json::from_value(value).map_err(|e| failed(e.to_string()))?;
        match document
            .rootfs
            .diff_ids
            .iter()
            .find(|id| !super::reference::is_digest(id))
        {
            Some(bad) => Err(failed(format!("invalid diff id {bad:?}"))),
            None => Ok(document),
        }
    }

    /// The snapshot key of its last layer; empty for an image without layers.
    pub fn chain_id(&self) -> String {
        chain_ids(&self.rootfs.diff_ids).pop().unwrap_or_default()
    }
}

/// Go's decoder takes null as the zero value of any field; so do we, at the two levels that have fields.
fn strip_nulls(value: &mut Value) {
    let Value::Object(top) = value else { return };
    top.retain(|_, v| !v.is_null());
    for key in ["config", "rootfs"] {
        if let Some(Value::Object(inner)) = top.get_mut(key) {
            inner.retain(|_, v| !v.is_null());
        }
    }
}

/// The chain ids of a stack of layers (OCI image-spec, "Layer ChainID"): one for each prefix.
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => containerd_rs_registry::digest::sha256(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_zero_values_and_bad_layers_are_refused() {
        let text = br#"{"architecture":"amd64","os":"linux","history":null,"config":{"Cmd":null,"User":null,
            "Env":["A=b"],"Volumes":{"/d":{}}},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let document = ImageDocument::parse("x", text).unwrap();
        assert_eq!(document.config.env, Some(vec!["A=b".to_owned()]));
        assert_eq!(document.config.user, "");
        assert_eq!(document.chain_id(), "");
        let bad = br#"{"rootfs":{"type":"layers","diff_ids":["../../x"]}}"#;
        assert!(ImageDocument::parse("x", bad).is_err());
        for garbage in [&b"[]"[..], b"7", b"", b"{\"rootfs\":7}"] {
            assert!(ImageDocument::parse("x", garbage).is_err());
        }
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let diff = |c: &str| format!("sha256:{}", c.repeat(64));
        let chain = chain_ids(&[diff("a"), diff("b")]);
        assert_eq!(chain[0], diff("a"));
        let joined = format!("{} {}", diff("a"), diff("b"));
        assert_eq!(chain[1], containerd_rs_registry::digest::sha256(joined.as_bytes()));
    }
}
