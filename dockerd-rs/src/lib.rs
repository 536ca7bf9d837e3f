//! Docker's REST API over containerd's gRPC services.
//!
//! The crate is a daemon in parts. What a container *is* lives in one record per container, kept as a file and in memory; what it *does* lives in
//! the layer below, reached only by containerd's gRPC API: over a socket, or over an in-memory channel when `containerd-rs` runs in this
//! process. Readers (list, inspect) take a snapshot of the record and never wait for an operation; operations on one container take turns
//! behind its own lock. Nothing a running container needs is in this process: its parent, its log and its exit code are the shim's, so the
//! daemon may be killed at any line, and [`engine`] adopts what it finds at the next start.
//!
//! - [`config`]: flags, `daemon.json`, and what comes of the two
//! - [`api`]: routes, versions, hijacked streams: HTTP in, operations out
//! - [`engine`]: containers, execs, volumes, events: the operations
//! - [`images`]: the image service
//! - [`l3`]: the clients of the layer below
//! - [`daemon`]: puts the parts together and serves

#![recursion_limit = "256"] // the `json!` of `info`

pub mod api;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod error;
pub mod images;
pub mod l3;

pub use error::{Error, ErrorKind, Result};
