//! The errors of the runtime. Texts that callers match on are runc's to the letter.

use std::io;
use std::path::PathBuf;

use crate::state::Status;
use crate::words::Words;

/// What went wrong, and on what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The id has characters outside `[A-Za-z0-9_+.-]`, is `.` or `..`, empty or too long.
    #[error("invalid container ID format")]
    InvalidId(String),
    /// A container of this id is there already.
    #[error("container with given ID already exists")]
    Exists(String),
    /// No container of this id.
    #[error("container does not exist")]
    NotFound(String),
    /// Another command on this container has not ended for a long time: a hook that hangs, for example.
    #[error("container {0} is being changed by another command that does not end")]
    Busy(String),
    /// The container's first process has ended.
    #[error("container not running")]
    NotRunning(String),
    /// The operation does not fit the container's status; the text is runc's.
    #[error("{message}")]
    WrongStatus {
        /// The container.
        id: String,
        /// Its status.
        status: Status,
        /// runc's words for it.
        message: String,
    },
    /// `delete` without force of a container that runs.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped {
        /// The container.
        id: String,
        /// Its status.
        status: Status,
    },
    /// A file of the bundle or of the state could not be read or written.
    #[error("{action} {}: {}", path.display(), Words(source))]
    File {
        /// What was tried: `open`, `read`, `write`, `mkdir`...
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `config.json` or a process file is no valid JSON of its kind.
    #[error("{}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// The bundle has no `config.json`.
    #[error("JSON specification file config.json not found")]
    NoConfig(PathBuf),
    /// A field of the configuration cannot be honoured.
    #[error("{field}: {message}")]
    Config {
        /// The field of `config.json`, as a path.
        field: String,
        /// Why not.
        message: String,
    },
    /// A system call of the runtime's own process failed.
    #[error("{action}: {}", Words(source))]
    System {
        /// The call and on what.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// The container's process could not be set up or executed: the child's words, which begin with the step.
    #[error("unable to start container process: {0}")]
    Process(String),
    /// A hook failed.
    #[error("error running {kind} hook #{index}: {message}")]
    Hook {
        /// `prestart`, `createRuntime`...
        kind: &'static str,
        /// Its place in the list.
        index: usize,
        /// What happened.
        message: String,
    },
    /// The control group could not be made, entered, read or removed.
    #[error("{0}")]
    Cgroup(String),
    /// CRIU is missing, cannot do what was asked, or failed.
    #[error("{message}")]
    Criu {
        /// What failed, in runc's words.
        message: String,
        /// Lines of CRIU's log: its errors, and what led to them.
        log: Vec<String>,
    },
    /// The system-call filter cannot be compiled.
    #[error("linux.seccomp: {0}")]
    Seccomp(String),
}

impl Error {
    /// The container that it is about, for those errors that are about one as a whole.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::InvalidId(id) | Self::Exists(id) | Self::NotFound(id) | Self::Busy(id) | Self::NotRunning(id) => {
                Some(id)
            }
            Self::WrongStatus { id, .. } | Self::NotStopped { id, .. } => Some(id),
            _ => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            action: action.into(),
            source: source.into(),
        }
    }

    pub(crate) fn config(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config {
            field: field.into(),
            message: message.into(),
        }
    }
}
