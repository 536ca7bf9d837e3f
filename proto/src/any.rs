//! Values of unknown type: `google.protobuf.Any`, in the dialect that containerd speaks.
//!
//! containerd's type URLs are bare: `containerd.events.TaskExit`, without a host. OCI objects travel as JSON under URLs of their own.

use prost::{Message, Name};
use prost_types::Any;

/// The type URLs of values that are JSON, not protobuf (containerd, `typeurl.Register` calls).
pub mod type_urls {
    /// An OCI runtime-spec `Spec` as JSON.
    pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
    /// An OCI runtime-spec `Process` as JSON.
    pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    /// An OCI runtime-spec `LinuxResources` as JSON.
    pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    /// OCI runtime `Features` as JSON.
    pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
}

/// An `Any` held something else than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeError {
    /// The full name of the type that was expected.
    pub expected: String,
    /// What was found instead: its type URL, or why it does not decode.
    pub found: String,
}

impl std::fmt::Display for TypeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected a value of type {}: found {}", self.expected, self.found)
    }
}

impl std::error::Error for TypeError {}

/// Wraps a message under its bare full name.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::full_name(),
        value: message.encode_to_vec(),
    }
}

/// Unwraps a message; a host before the type name (`type.googleapis.com/`) is accepted.
///
/// # Errors
/// [`TypeError`] when `any` names another type or its value does not decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, TypeError> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let error = |found: String| TypeError {
        expected: M::full_name(),
        found,
    };
    if name != M::full_name() {
        return Err(error(any.type_url.clone()));
    }
    M::decode(any.value.as_slice()).map_err(|e| error(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::events::{TaskOom, TaskStart};

    #[test]
    fn packs_under_the_bare_name_and_unpacks_with_a_host() {
        let message = TaskStart {
            container_id: "c".into(),
            pid: 7,
        };
        let mut any = pack(&message);
        assert_eq!(any.type_url, "containerd.events.TaskStart");
        any.type_url = format!("type.googleapis.com/{}", any.type_url);
        assert_eq!(unpack::<TaskStart>(&any), Ok(message));
        assert!(unpack::<TaskOom>(&any).is_err());
    }
}
