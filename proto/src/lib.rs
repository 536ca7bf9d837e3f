//! Protobuf messages of containerd's API, the shim's task API and the cgroup metrics.
//!
//! The .proto files under `protos/` are our own writing of the public wire formats; the code made from them is committed (see `proto/codegen`),
//! so that nobody who builds this crate needs a proto compiler. Messages only: the services over them are in `containerd-grpc` (tonic) and
//! `containerd-ttrpc`, so that a shim links no gRPC stack.
//!
//! Modules follow the proto packages: `containerd.services.tasks.v1` is [`containerd::services::tasks::v1`].

mod any;
mod time;

#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub, rustdoc::all)]
#[rustfmt::skip]
mod r#gen;

pub use any::{TypeError, pack, type_urls, unpack};
pub use r#gen::{containerd, google, grpc, io, ttrpc};
pub use time::now;
