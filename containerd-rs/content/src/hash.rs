//! The running hash of an ingest.

use containerd_rs_core::{Digest, Error, Result};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// One of the algorithms that digests may have.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// For the algorithm of the expected digest; SHA-256 when none is expected.
    pub(crate) fn new(expected: Option<&Digest>) -> Self {
        match expected.map_or("sha256", Digest::algorithm) {
            "sha384" => Hasher::Sha384(Sha384::new()),
            "sha512" => Hasher::Sha512(Sha512::new()),
            _ => Hasher::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(data),
            Hasher::Sha384(hash) => hash.update(data),
            Hasher::Sha512(hash) => hash.update(data),
        }
    }

    /// The digest so far; hashing can go on.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let text = match self {
            Hasher::Sha256(hash) => return Ok(Digest::from_sha256(&hash.clone().finalize().into())),
            Hasher::Sha384(hash) => format!("sha384:{}", hex(&hash.clone().finalize())),
            Hasher::Sha512(hash) => format!("sha512:{}", hex(&hash.clone().finalize())),
        };
        Digest::parse(&text).map_err(|e| Error::Internal(e.to_string()))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The directory name of an ingest: the SHA-256 of its ref, as containerd has it.
pub(crate) fn of_ref(reference: &str) -> String {
    hex(&Sha256::digest(reference.as_bytes()))
}
