//! The container's system-call filter: compiled before the fork, kept beside the container's record for `exec`.

use oci_spec::runtime::LinuxSeccomp;

use crate::Error;
use crate::init::fail::Fail;

/// A compiled filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter;

impl Filter {
    /// Compiles the configuration.
    pub(crate) fn compile(_config: &LinuxSeccomp) -> Result<Option<Self>, Error> {
        Err(Error::Seccomp("filters are not supported by this build".into()))
    }

    /// As bytes, for a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// From such bytes.
    pub(crate) fn from_bytes(_bytes: &[u8]) -> Result<Self, Error> {
        Err(Error::Seccomp("filters are not supported by this build".into()))
    }

    /// Puts the filter in force for the calling process.
    pub(crate) fn load(&self) -> Result<(), Fail> {
        Err(Fail::new("filters are not supported by this build"))
    }
}

/// What of `features` is true of this build.
pub(crate) fn describe(features: &mut runtime_spec::features::Seccomp) {
    features.enabled = false;
}
