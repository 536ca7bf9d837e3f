//! A client of OCI and Docker registries: resolve, fetch, and room for push.
//!
//! The crate is a client of the *distribution* protocol and of nothing else: it knows no content store, no image
//! store and no container. What it offers its consumer are two small roles, [`Resolver`] and [`Fetcher`], so that a
//! directory in OCI layout or a test double can stand where [`Session`] stands.
//!
//! Three decisions shape it:
//!
//! * **A [`Registry`] holds what is shared, a [`Session`] what is one user's.** Connections, trust anchors and the rules
//!   of which host may be spoken to how belong to the daemon; credentials and tokens belong to one request and die with
//!   it. A token can so never serve somebody else's pull.
//! * **Credentials go by exact host.** They are given for one registry host and are used for challenges of that host's
//!   own endpoints only: not for mirrors, not for the target of a redirect, not for another host that answers 401.
//! * **Everything that arrives is hostile until its digest says otherwise.** Documents are capped at 4 MiB and verified
//!   before they are parsed, blobs are cut at their announced size, bodies that stall or break off are resumed with
//!   `Range` a bounded number of times.
//!
//! Modules: [`endpoint`] which URLs stand for a host; `tls` trust and client certificates; `transport` requests,
//! redirects, retries; `challenge` and `auth` the token flow; [`document`] manifests and indexes; `session` and `told` the
//! [`Resolver`]; `blob` resumable bodies; [`digest`] checked hashing.

#![warn(missing_docs)]

mod auth;
mod blob;
mod challenge;
pub mod digest;
pub mod document;
pub mod endpoint;
mod error;
mod session;
mod source;
mod tls;
mod told;
mod transport;

pub use auth::Credentials;
pub use endpoint::{Config, Endpoint, Repository};
pub use error::{ApiError, RegistryError};
pub use oci_spec::image::{Descriptor, Digest, MediaType, Platform};
pub use session::{Registry, Session};
pub use source::{BlobStream, Fetcher, Resolver};
