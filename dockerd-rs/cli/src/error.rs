//! What can go wrong, and the exit code that says so.

use std::io;

use bollard::errors::Error as Api;

/// The exit code of `docker run` when the engine, not the container, failed.
pub(crate) const ENGINE_FAILED: i32 = 125;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("unable to parse docker host `{0}`")]
    Host(String),
    #[error("Cannot connect to the Docker daemon at {0}. Is the docker daemon running? ({1})")]
    Unreachable(String, Api),
    #[error("{}", message(.0))]
    Api(#[from] Api),
    /// The engine's word on a step that it did not finish, such as a pull.
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Usage(String),
    #[error("start the event loop: {0}")]
    EventLoop(String),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// A failure of `run` or `exec`, whose exit code means more than that something failed.
    #[error("{0}")]
    Run(Box<Error>, i32),
}

impl Error {
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Run(_, code) => *code,
            Self::Usage(_) => ENGINE_FAILED,
            _ => 1,
        }
    }

    /// The HTTP status, when the engine answered with one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Api(Api::DockerResponseServerError { status_code, .. }) => Some(*status_code),
            _ => None,
        }
    }
}

fn message(error: &Api) -> String {
    match error {
        Api::DockerResponseServerError { message, .. } => format!("Error response from daemon: {message}"),
        Api::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}
