//! The lifecycle manager: containerd's gRPC services over content, snapshots, metadata and shims.
//!
//! One [`Engine`] is everything: it holds its directories, knows the running tasks, collects garbage, and serves the API. A program
//! embeds it and speaks to it over memory ([`Engine::channel`]), or has it serve a socket ([`Engine::serve`]); the services and messages
//! are the same, so an embedder can at any time speak to another process instead, ours or containerd's. The `containerd-rs` program is
//! a command line around this.
//!
//! The decisions that shape it:
//!
//! * **Shims are the truth.** What runs, and how it ended, is what its shim says; nothing about tasks is in the database. A manager
//!   that was killed at any line finds everything again by its bundles, and whatever it is not sure of it keeps.
//! * **Blocking work blocks a thread of its own.** The stores are synchronous; services call them on blocking threads. The only
//!   asynchronous state is that of tasks.
//! * **A request never waits for another one,** but for those to the same task, which its shim puts in order.
//!
//! - [`Config`], [`Engine`], [`EngineError`]: the public face
//! - `services`: one module for each gRPC service
//! - `tasks`: bundles, starting shims, speaking to them, finding them again
//! - `events`: the exchange
//! - `serve`: sockets and memory

mod config;
mod engine;
mod error;
mod events;
mod gc;
mod lock;
mod metrics;
mod serve;
mod services;
mod stores;
mod tasks;

pub use config::Config;
pub use engine::Engine;
pub use error::EngineError;
pub use services::VERSION;
