//! What can go wrong between us and a registry.

use hyper::StatusCode;
use serde::Deserialize;

/// One entry of the error document that registries answer with (distribution spec, "Error codes").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApiError {
    /// Upper-case identifier: `MANIFEST_UNKNOWN`, `NAME_UNKNOWN`, `DENIED`, `UNAUTHORIZED`, ...
    #[serde(default)]
    pub code: String,
    /// Text for people.
    #[serde(default)]
    pub message: String,
}

impl std::fmt::Display for ApiError {
    /// Prints as Docker does: `manifest unknown: manifest unknown`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.to_lowercase().replace('_', " "), self.message)
    }
}

/// Errors of resolving and fetching. Each names the URL or the document it is about.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer came: name resolution, connect, TLS or a broken connection before the status line.
    #[error("failed to do request: {method} \"{url}\": {reason}")]
    Transport {
        /// `Head`, `Get` or `Post`.
        method: String,
        /// The URL asked for.
        url: String,
        /// The innermost cause, in the words of Go's net package where it has any.
        reason: String,
    },
    /// The registry answered with a status that is not a success.
    #[error("unexpected status from {method} request to {url}: {status}{}", details(.errors))]
    Status {
        /// The HTTP method, upper case.
        method: String,
        /// The URL asked for.
        url: String,
        /// The status of the reply.
        status: StatusCode,
        /// The registry's own words, when it sent any.
        errors: Vec<ApiError>,
    },
    /// The registry wants credentials and has refused what we have.
    #[error("authorization failed for {url}: {message}")]
    Unauthorized {
        /// The URL asked for.
        url: String,
        /// The registry's or the token server's words.
        message: String,
    },
    /// The registry asks for Basic credentials and there are none for its host.
    #[error("{url}: no basic auth credentials")]
    NoCredentials {
        /// The URL asked for.
        url: String,
    },
    /// An answer that is not what the protocol says.
    #[error("{url}: invalid answer of the registry: {reason}")]
    Garbage {
        /// The URL asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document or an answer over its size limit.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// URL or digest.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes of a document are not those its digest names.
    #[error("manifest verification failed for digest {expected}: received {found}")]
    Digest {
        /// The digest asked for.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error("blob {digest}: failed size validation: {found} != {expected}")]
    Size {
        /// The blob's digest.
        digest: String,
        /// Bytes announced by the descriptor.
        expected: u64,
        /// Bytes that came (for one that is too long: at least so many).
        found: u64,
    },
    /// A body broke off or stalled more often than we resume.
    #[error("blob {digest}: unexpected EOF after {got} of {want} bytes ({tries} tries): {reason}")]
    BrokenOff {
        /// The blob's digest.
        digest: String,
        /// Bytes received.
        got: u64,
        /// Bytes announced.
        want: u64,
        /// How many times the transfer was begun.
        tries: u32,
        /// The last cause.
        reason: String,
    },
    /// The registry serves Docker's schema 1, which nobody should run any more.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the \
         author of {reference} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More \
         information at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1 {
        /// Repository and tag or digest.
        reference: String,
    },
    /// A document that cannot be used: not JSON, of the wrong kind, or of two kinds at once (CVE-2021-41190).
    #[error("invalid document {what}: {reason}")]
    Document {
        /// Digest or URL of the document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A host, repository, tag, digest or configuration value that is malformed.
    #[error("invalid {field} {value:?}: {reason}")]
    Invalid {
        /// Which value.
        field: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates of a host could not be read or used.
    #[error("certificates of {host}: {reason}")]
    Certificates {
        /// The registry host, or `system` for the system's bundle.
        host: String,
        /// The file and the cause.
        reason: String,
    },
}

fn details(errors: &[ApiError]) -> String {
    errors.iter().map(|e| format!(": {e}")).collect()
}

impl RegistryError {
    /// Whether the registry said that the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether the registry refused for want of (better) credentials.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Unauthorized { .. } | Self::NoCredentials { .. } => true,
            Self::Status { status, .. } => *status == StatusCode::UNAUTHORIZED || *status == StatusCode::FORBIDDEN,
            _ => false,
        }
    }

    /// The registry's own error entries, when it sent any.
    pub fn api_errors(&self) -> &[ApiError] {
        match self {
            Self::Status { errors, .. } => errors,
            _ => &[],
        }
    }

    /// Whether no HTTP answer came at all.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }
}
