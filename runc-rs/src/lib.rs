//! An OCI runtime: a library to embed, and a drop-in for runc.
#![deny(unsafe_op_in_unsafe_fn)]

mod error;
mod options;
mod runtime;
mod state;

pub use error::Error;
pub use options::{CreateOptions, Created, ExecOptions, Io};
pub use runtime::Runtime;
pub use state::{State, Status};
