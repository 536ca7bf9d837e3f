//! Platforms, as the image service uses those of [`runtime_spec`].

use containerd_rs_registry::Platform as OciPlatform;
pub use runtime_spec::Platform;
use runtime_spec::platform;

use crate::error::Error;

impl From<platform::Error> for Error {
    /// 400, with containerd's text.
    fn from(error: platform::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

/// The platform of an index's entry, normalized.
pub(crate) fn of_index(platform: &OciPlatform) -> Platform {
    let variant = platform.variant().clone().unwrap_or_default();
    Platform::new(
        &platform.os().to_string(),
        &platform.architecture().to_string(),
        &variant,
    )
}
