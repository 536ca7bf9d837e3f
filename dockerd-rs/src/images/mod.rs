//! The image service: what images there are, and how they come and go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::l3::L3;

/// The part of an image's configuration that containers inherit (OCI image-spec `config`, with Docker's extensions).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// Ports, such as `80/tcp`.
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `KEY=value`.
    pub env: Option<Vec<String>>,
    /// Default program.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub cmd: Option<Vec<String>>,
    /// Paths that get an anonymous volume.
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

/// An image as a container needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// The id that clients see, `sha256:...`.
    pub id: String,
    /// Key of the committed snapshot of its last layer: the parent of a container's snapshot. Empty for an image without layers.
    pub chain_id: String,
    /// What containers inherit.
    pub config: ImageConfig,
    /// `linux/amd64` and the like.
    pub platform: String,
}

/// The image service.
#[derive(Debug, Clone)]
pub struct ImageService {
    l3: L3,
}

impl ImageService {
    /// A service over the layer below.
    pub fn new(l3: L3) -> Self {
        Self { l3 }
    }

    /// The image of this reference, id or id prefix.
    ///
    /// # Errors
    /// 404 `No such image: x:latest`.
    pub async fn resolve(&self, name_or_id: &str) -> Result<ResolvedImage> {
        let _ = &self.l3;
        Err(Error::not_found(format!("No such image: {name_or_id}")))
    }
}
