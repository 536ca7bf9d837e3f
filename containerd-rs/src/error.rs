//! Why an engine does not start, or does not serve.

use std::path::PathBuf;

/// An error of the engine as a whole; those of single requests are [`containerd_rs_core::Error`].
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A system call failed.
    #[error("{call} {path}: {source}", path = path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another engine has the directory.
    #[error("{path} is in use by another engine{holder}", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (process N)` when it is known.
        holder: String,
    },
    /// Somebody answers on the socket already.
    #[error("{path} is served by another process", path = path.display())]
    Served {
        /// The socket.
        path: PathBuf,
    },
    /// A path that cannot be used.
    #[error("{field} {path}: {problem}", path = path.display())]
    Path {
        /// The field of the configuration.
        field: &'static str,
        /// Its value.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The stores do not open.
    #[error(transparent)]
    Store(#[from] containerd_rs_core::Error),
}

impl EngineError {
    pub(crate) fn io(call: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| EngineError::Io { call, path, source }
    }
}
