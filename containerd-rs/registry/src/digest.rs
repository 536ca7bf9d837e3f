//! Digests that are checked, and the hashing that checks them.

use sha2::{Digest as _, Sha256, Sha512};

use crate::{Digest, RegistryError};
use oci_spec::image::DigestAlgorithm;

/// Parses a digest and accepts only algorithms that we can verify: sha256 and sha512.
///
/// # Errors
/// [`RegistryError::Invalid`] for malformed digests and for algorithms that cannot be verified here.
pub fn parse(text: &str) -> Result<Digest, RegistryError> {
    let invalid = |reason: String| RegistryError::Invalid {
        field: "digest",
        value: clip(text),
        reason,
    };
    let digest = Digest::try_from(text).map_err(|e| invalid(e.to_string()))?;
    match digest.algorithm() {
        DigestAlgorithm::Sha256 | DigestAlgorithm::Sha512 => Ok(digest),
        other => Err(invalid(format!("unsupported digest algorithm {other}"))),
    }
}

/// Shortens hostile text for an error message.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(200).collect();
    if out.len() < text.len() {
        out.push_str("...");
    }
    out
}

/// Hashes with the algorithm of a digest, to compare in the end.
#[derive(Debug)]
pub enum Hasher {
    /// SHA-256, the algorithm of nearly everything.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher of the algorithm that `digest` names (sha256 when it is one that we do not know; [`parse`] refuses those).
    pub fn of(digest: &Digest) -> Self {
        match digest.algorithm() {
            DigestAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of all bytes added, as `algorithm:hex`.
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(h) => format!("sha256:{}", hex::encode(h.finalize())),
            Self::Sha512(h) => format!("sha512:{}", hex::encode(h.finalize())),
        }
    }
}

/// The sha256 digest of `bytes`, as `sha256:hex`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Compares bytes with the digest that names them.
///
/// # Errors
/// [`RegistryError::Digest`] when they differ.
pub fn verify(bytes: &[u8], expected: &Digest) -> Result<(), RegistryError> {
    let mut hasher = Hasher::of(expected);
    hasher.update(bytes);
    let found = hasher.finish();
    if found == expected.as_ref() {
        return Ok(());
    }
    Err(RegistryError::Digest {
        expected: expected.to_string(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verifiable_digests_are_accepted() {
        let good = sha256(b"x");
        assert_eq!(parse(&good).unwrap().to_string(), good);
        for bad in [
            "",
            "sha256:",
            "sha256:zz",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../etc/passwd",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(verify(b"x", &parse(&good).unwrap()).is_ok());
        assert!(verify(b"y", &parse(&good).unwrap()).is_err());
    }
}
