//! How requests come in: gRPC over unix sockets and over memory, ttrpc from shims.

mod memory;
mod shims;
mod unix;

use containerd_rs_core::{Error, Kind};
use tonic::{Code, Status};

pub(crate) use memory::{Memory, memory};
pub(crate) use shims::shims;
pub(crate) use unix::bind;

/// The gRPC status of an error: containerd's code for the kind, and the text as it is.
pub(crate) fn status(error: &Error) -> Status {
    Status::new(code(error.kind()), error.to_string())
}

/// containerd's code for a kind of error (`errdefs.ToGRPC`).
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::Unavailable => Code::Unavailable,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Aborted => Code::Aborted,
        Kind::Canceled => Code::Cancelled,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::DataLoss => Code::DataLoss,
        Kind::Internal => Code::Internal,
        Kind::Unknown => Code::Unknown,
    }
}

/// A shim's answer, passed on: the codes are the same numbers.
pub(crate) fn from_ttrpc(status: containerd_ttrpc::Status) -> Status {
    Status::new(Code::from_i32(status.code as i32), status.message)
}
