//! Checkpoint and restore, by CRIU.
//!
//! CRIU is asked through `criu swrk`: a socket of its own that speaks its protobuf protocol (`images/rpc.proto`), no service and no
//! configuration on disk. The handful of messages is written by hand ([`wire`]): a protobuf library would be a tenth of the runtime.
//!
//! What CRIU cannot know is what lies outside of the container: bind mounts, pipes of the standard streams, namespaces that were joined. They are told
//! to it by names, the same when it dumps and when it restores ([`external`]).
//!
//! | module | what |
//! |---|---|
//! | [`options`] | what callers hand in |
//! | [`wire`], [`request`] | the protocol |
//! | [`session`] | one `criu swrk` process and the talk with it |
//! | [`external`] | names of what is outside |
//! | [`dump`], [`restore`] | the two operations |
//! | [`mountpoints`] | the mount namespace that CRIU restores from |

pub(crate) mod dump;
mod external;
mod log;
mod mountpoints;
mod options;
mod request;
pub(crate) mod restore;
mod session;
mod wire;

/// The annotation that names a file of CRIU's own settings.
pub(crate) const CONFIG_ANNOTATION: &str = "org.criu.config";

pub use options::{CgroupsMode, CheckpointOptions, Migration, RestoreOptions};
