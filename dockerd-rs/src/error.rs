//! One error for the daemon: a kind, which decides the HTTP status, and Docker's text, which clients match on.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// What sort of failure; decides the HTTP status (Docker's `errdefs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the request is wrong.
    InvalidParameter,
    /// 401: credentials are missing or wrong.
    Unauthorized,
    /// 403: not allowed.
    Forbidden,
    /// 404: no such thing.
    NotFound,
    /// 409: the state of the thing does not allow it.
    Conflict,
    /// 304: already as asked for; has no body.
    NotModified,
    /// 501: not built.
    NotImplemented,
    /// 503: a part that is needed does not answer.
    Unavailable,
    /// 500: all else.
    Internal,
}

impl ErrorKind {
    /// The HTTP status of this kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A failure as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The sort of failure.
    pub kind: ErrorKind,
    /// The text of the `message` field.
    pub message: String,
}

/// A result with the daemon's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// 304.
    pub fn not_modified() -> Self {
        Self::new(ErrorKind::NotModified, "")
    }

    /// 501.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// 500, with what was being done and why it did not go.
    pub fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::internal(format!("{what}: {why}"))
    }

    /// The same kind, with `what` before the text.
    #[must_use]
    pub fn context(self, what: impl std::fmt::Display) -> Self {
        Self {
            kind: self.kind,
            message: format!("{what}: {}", self.message),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.kind == ErrorKind::NotModified {
            return self.kind.status().into_response();
        }
        if self.kind == ErrorKind::Internal {
            tracing::error!(error = %self.message, "request failed");
        }
        (
            self.kind.status(),
            axum::Json(serde_json::json!({ "message": self.message })),
        )
            .into_response()
    }
}
