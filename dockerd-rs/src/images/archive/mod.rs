//! Archives that clients send: decompressed and taken apart without ever touching a path on disk.
//!
//! A thread of its own decompresses and parses, and hands over pieces through a bounded channel; what becomes of them is
//! decided on the asynchronous side. So a client that sends slowly holds nothing but that thread, one that sends a bomb
//! fills no memory, and an operation that is given up takes its thread along.

mod names;
mod stream;
mod tar;

pub(crate) use names::{member_name, sibling};
pub(crate) use stream::{Piece, members, plain};
pub(crate) use tar::Kind;
