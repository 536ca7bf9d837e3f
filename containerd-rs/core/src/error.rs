//! Errors in containerd's kinds. The text is containerd's: what it is about, a colon, the name of the kind.

/// What went wrong, as the clients of containerd tell cases apart (`errdefs`); each maps to one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such object in this namespace.
    NotFound,
    /// The object is there already.
    AlreadyExists,
    /// The state of the object does not allow it.
    FailedPrecondition,
    /// The request cannot be right, whatever the state.
    InvalidArgument,
    /// Try again: somebody else holds it.
    Unavailable,
    /// Beyond the end.
    OutOfRange,
    /// Not offered.
    Unimplemented,
    /// Given up half-way.
    Aborted,
    /// The caller went away.
    Canceled,
    /// Not allowed.
    PermissionDenied,
    /// No space, or over a limit.
    ResourceExhausted,
    /// Stored bytes are not what they should be.
    DataLoss,
    /// A bug, or a broken store.
    Internal,
    /// A system call failed.
    Unknown,
}

/// An error of the manager: a kind, and on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{0}: not found")]
    NotFound(String),
    /// The object is there already.
    #[error("{0}: already exists")]
    AlreadyExists(String),
    /// The state of the object does not allow it.
    #[error("{0}: failed precondition")]
    FailedPrecondition(String),
    /// The request cannot be right.
    #[error("{0}: invalid argument")]
    InvalidArgument(String),
    /// Somebody else holds it.
    #[error("{0}: unavailable")]
    Unavailable(String),
    /// Beyond the end.
    #[error("{0}: out of range")]
    OutOfRange(String),
    /// Not offered.
    #[error("{0}: not implemented")]
    Unimplemented(String),
    /// Given up half-way.
    #[error("{0}: aborted")]
    Aborted(String),
    /// The caller went away.
    #[error("{0}: context canceled")]
    Canceled(String),
    /// Not allowed.
    #[error("{0}: permission denied")]
    PermissionDenied(String),
    /// Over a limit.
    #[error("{0}: resource exhausted")]
    ResourceExhausted(String),
    /// Stored bytes are not what they should be.
    #[error("{0}: data loss")]
    DataLoss(String),
    /// A bug, or a broken store.
    #[error("{0}: internal")]
    Internal(String),
    /// A system call failed; the text says which, and on which path.
    #[error("{what}: {source}")]
    Io {
        /// The call and the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another error, with what was being done in front of it; it keeps the kind.
    #[error("{what}: {source}")]
    Context {
        /// What was being done.
        what: String,
        /// What failed.
        source: Box<Error>,
    },
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failed system call on something.
    pub fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Error::Io {
            what: what.into(),
            source: source.into(),
        }
    }

    /// Puts what was being done in front, and keeps the kind.
    #[must_use]
    pub fn context(self, what: impl Into<String>) -> Self {
        Error::Context {
            what: what.into(),
            source: Box::new(self),
        }
    }

    /// The kind, by which callers decide and services choose their status code.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotFound(_) => Kind::NotFound,
            Error::AlreadyExists(_) => Kind::AlreadyExists,
            Error::FailedPrecondition(_) => Kind::FailedPrecondition,
            Error::InvalidArgument(_) => Kind::InvalidArgument,
            Error::Unavailable(_) => Kind::Unavailable,
            Error::OutOfRange(_) => Kind::OutOfRange,
            Error::Unimplemented(_) => Kind::Unimplemented,
            Error::Aborted(_) => Kind::Aborted,
            Error::Canceled(_) => Kind::Canceled,
            Error::PermissionDenied(_) => Kind::PermissionDenied,
            Error::ResourceExhausted(_) => Kind::ResourceExhausted,
            Error::DataLoss(_) => Kind::DataLoss,
            Error::Internal(_) => Kind::Internal,
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::ResourceExhausted,
                _ => Kind::Unknown,
            },
            Error::Context { source, .. } => source.kind(),
        }
    }

    /// Whether the object is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    /// Whether the object was there already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.kind() == Kind::AlreadyExists
    }
}
