//! Why something with a task failed: on our side, or as its shim says.

use containerd_ttrpc::Code;

/// An error of a task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// On our side.
    #[error(transparent)]
    Core(#[from] containerd_rs_core::Error),
    /// The shim's answer, as it is.
    #[error("{0}")]
    Shim(containerd_ttrpc::Status),
    /// The shim's answer, with what was being done in front.
    #[error("{what}: {status}")]
    ShimDoing {
        /// What was being done; containerd's words.
        what: &'static str,
        /// The answer.
        status: containerd_ttrpc::Status,
    },
}

pub(crate) type Result<T> = std::result::Result<T, TaskError>;

impl TaskError {
    /// As a gRPC status: the shim's code is passed on.
    pub(crate) fn status(&self) -> tonic::Status {
        let code = match self {
            TaskError::Core(error) => crate::serve::code(error.kind()),
            TaskError::Shim(status) | TaskError::ShimDoing { status, .. } => tonic::Code::from_i32(status.code as i32),
        };
        tonic::Status::new(code, self.to_string())
    }
}

/// Whether the connection broke: nothing is known of the call then.
pub(crate) fn is_gone(status: &containerd_ttrpc::Status) -> bool {
    status.code == Code::Unavailable
}
