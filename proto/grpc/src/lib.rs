//! gRPC clients and servers of containerd's services, on tonic.
//!
//! Modules follow the proto packages; the messages are those of `containerd-proto`. Generated and committed, see `proto/codegen`.
//! A request's namespace travels in the header [`NAMESPACE_HEADER`], its lease in [`LEASE_HEADER`].

#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub, rustdoc::all)]
#[rustfmt::skip]
mod r#gen;

pub use r#gen::{containerd, grpc};

/// The metadata key that names the containerd namespace of a gRPC call.
pub const NAMESPACE_HEADER: &str = "containerd-namespace";
/// The metadata key that names the lease of a gRPC call.
pub const LEASE_HEADER: &str = "containerd-lease";
