//! Standard streams: where they lead, and how bytes get there.
//!
//! A container never gets a descriptor of a file on the host: its outputs are pipes (or a terminal), and the shim copies from them. That keeps the
//! host's inodes out of its reach, lets the shim know when everything a process wrote has gone on its way, and costs no memory while nothing is
//! copied: there is one scratch buffer for all streams of the process, filled and emptied within one step.

mod docker;
mod program;
mod pump;
mod scratch;
mod sink;
mod streams;
mod uri;

pub(crate) use streams::{Owner, Prepared, Running, StdioRequest};
pub use uri::{DockerLog, Target, UriError};
