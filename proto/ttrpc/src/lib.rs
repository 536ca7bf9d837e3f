//! The ttrpc protocol, client and server, and the services that shims and managers speak over it.
//!
//! ttrpc is gRPC's little brother for a local socket: a ten-byte frame header, one protobuf message for a request and one for a response,
//! no HTTP/2. It is what keeps a shim small, so this crate is written for size: no TLS, no load balancing, one task a connection, and no
//! buffer larger than the message at hand. Unary calls only; that is all that the task and event services use.
//!
//! - `frame`: the wire format
//! - [`Status`], [`Code`]: gRPC's error model
//! - [`Context`]: what travels beside a request: metadata and a deadline
//! - [`Server`], [`Service`]: dispatch by service name
//! - [`Client`]: many calls at once over one connection
//! - [`containerd`]: the generated services
//!
//! Source of the format: ttrpc's PROTOCOL.md (2023).

mod client;
mod context;
mod frame;
mod server;
mod status;

#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub, rustdoc::all)]
#[rustfmt::skip]
mod r#gen;

pub use client::Client;
pub use context::{Context, NAMESPACE_KEY};
pub use frame::MAX_MESSAGE;
pub use r#gen::containerd;
pub use server::{Reply, Server, Service};
pub use status::{Code, Status};

/// Decodes a request's payload.
///
/// # Errors
/// [`Code::InvalidArgument`] when the bytes are not such a message.
pub fn decode<M: prost::Message + Default>(payload: &[u8]) -> Result<M, Status> {
    M::decode(payload).map_err(|e| Status::new(Code::InvalidArgument, format!("unmarshal payload: {e}")))
}

/// Encodes a response's payload.
///
/// # Errors
/// None at present; the signature is that of the step in a service's dispatch.
pub fn encode<M: prost::Message>(message: &M) -> Result<Vec<u8>, Status> {
    Ok(message.encode_to_vec())
}
