//! What travels beside a request.

use std::time::Duration;

/// The metadata key that names the containerd namespace of a ttrpc call.
pub const NAMESPACE_KEY: &str = "containerd-namespace-ttrpc";

/// Metadata and deadline of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Key and value pairs; a key may occur more than once.
    pub metadata: Vec<(String, String)>,
    /// How long the caller waits for the answer; `None` means without end.
    pub timeout: Option<Duration>,
}

impl Context {
    /// A context for calls in a containerd namespace, without a deadline.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self {
            metadata: vec![(NAMESPACE_KEY.to_owned(), namespace.into())],
            timeout: None,
        }
    }

    /// The same context with a deadline.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The first value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}
