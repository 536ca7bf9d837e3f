//! gRPC codes to kinds of error.

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// The kind that a gRPC code stands for.
pub fn code_kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidParameter,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => ErrorKind::Conflict,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::Unavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// The layer below's answer, as an error of ours with the same text.
pub fn from_status(status: &Status) -> Error {
    Error::new(code_kind(status.code()), status.message())
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        from_status(&status)
    }
}
