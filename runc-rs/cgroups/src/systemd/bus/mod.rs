//! A small D-Bus client: blocking, one connection, only what talking to systemd takes.

pub mod address;
pub mod connection;
pub mod message;
pub mod value;
mod wire;

pub use connection::{BusError, Connection};
pub use value::Value;
