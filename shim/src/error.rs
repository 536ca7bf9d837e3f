//! The errors of the shim, and how they look to the manager.

use std::io;
use std::path::{Path, PathBuf};

use containerd_ttrpc::{Code, Status};

/// What went wrong, and on what. Texts are those of containerd's shim where clients match on them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such container, exec or process.
    #[error("{0}: not found")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}: already exists")]
    Exists(String),
    /// Not in this state.
    #[error("{0}: failed precondition")]
    Precondition(String),
    /// A request that makes no sense.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// Not built.
    #[error("{0}: not implemented")]
    Unimplemented(String),
    /// A state that the operation does not fit, in containerd's words without a kind.
    #[error("{0}")]
    State(String),
    /// The runtime failed: what was tried, and its own words.
    #[error("{action}: {message}")]
    Runtime {
        /// `OCI runtime create failed` and the like.
        action: &'static str,
        /// The runtime's error.
        message: String,
    },
    /// A file or directory.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// `open`, `write`, `mkdir`…
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A system call.
    #[error("{action}: {source}")]
    System {
        /// The call, and on what.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// A mount of the root filesystem.
    #[error("failed to mount rootfs component: mount source: {from:?}, target: {}, fstype: {kind}, flags: {flags}, data: {data:?}, err: {error}", target.display())]
    Mount {
        /// The source.
        from: String,
        /// Where.
        target: PathBuf,
        /// The filesystem's type.
        kind: String,
        /// mount(2) flags.
        flags: u64,
        /// mount(2) data.
        data: String,
        /// Why not.
        error: io::Error,
    },
    /// A stream field.
    #[error(transparent)]
    Stream(#[from] crate::stdio::UriError),
    /// Control groups.
    #[error("{0}")]
    Cgroup(String),
}

/// Short for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source: source.into(),
        }
    }

    /// For `map_err` on other system calls.
    pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(_) => Code::NotFound,
            Error::Exists(_) => Code::AlreadyExists,
            Error::Precondition(_) => Code::FailedPrecondition,
            Error::Unimplemented(_) => Code::Unimplemented,
            Error::Invalid(_) | Error::Stream(_) => Code::InvalidArgument,
            _ => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}
