//! What the layers of the engine have to agree on: the OCI runtime's types, and the few small languages around them.
//!
//! The types themselves are oci-spec's, re-exported as [`oci`], so that a program that embeds a layer can build a config with the
//! crate it already knows. What this crate adds is everything about them that needs no system call, and therefore one place and one
//! set of tests: reading a config so that an error names the field, judging it as runc does, the defaults of runc and of Docker,
//! digests, references, platforms, users and timestamps with the exact texts that clients match on.
//!
//! Nothing here touches the machine. Files are read by the callers, who know how to do that safely beneath a hostile root; this
//! crate gets their content.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = runtime_spec::load(br#"{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"cwd": "tmp"}}"#)?;
//! let error = runtime_spec::validate(&spec).unwrap_err();
//! assert_eq!(error.to_string(), "process.cwd: Cwd must be an absolute path");
//!
//! let image: runtime_spec::Reference = "ubuntu".parse()?;
//! assert_eq!(image.or_latest().to_string(), "docker.io/library/ubuntu:latest");
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`mod@load`] | config.json -> [`oci::Spec`], naming the field that is wrong |
//! | [`mod@validate`] | what runc would refuse, before anything is made |
//! | [`default`] | what `runc spec` prints |
//! | [`engine`] | mounts, masked paths, devices of a Docker container |
//! | [`caps`] | capability names, `--cap-add` and `--cap-drop` |
//! | [`seccomp`] | Docker's default profile in our words, and its profile files |
//! | [`state`], [`features`] | what `runc state` and `runc features` print |
//! | [`digest`], [`mod@reference`], [`platform`] | naming content, images and machines |
//! | [`user`] | `USER` strings against passwd and group |
//! | [`timestamp`] | points in time as Go prints them |

pub mod caps;
pub mod default;
pub mod digest;
pub mod engine;
pub mod features;
pub mod load;
pub mod platform;
pub mod reference;
pub mod seccomp;
pub mod state;
pub mod timestamp;
pub mod user;
pub mod validate;

pub use digest::Digest;
pub use load::{load, load_reader};
pub use oci_spec::runtime as oci;
pub use oci_spec::runtime::Spec;
pub use platform::Platform;
pub use reference::Reference;
pub use timestamp::Timestamp;
pub use validate::validate;

/// The lowest version of the OCI runtime spec that is understood.
pub const OCI_VERSION_MIN: &str = "1.0.0";
/// The highest version of the OCI runtime spec that is understood.
pub const OCI_VERSION_MAX: &str = "1.3.0";
/// The version an engine should put into the configs it makes: the one that every runtime in use takes (crun before 1.9 refuses
/// anything that does not begin with 1.0).
pub const OCI_VERSION_ENGINE: &str = "1.0.2";
