//! Standard streams: where they lead, and how bytes get there.

mod uri;

pub use uri::{DockerLog, Target, UriError};
