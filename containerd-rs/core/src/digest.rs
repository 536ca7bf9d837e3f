//! Content digests: `algorithm:hex`, checked once, then trusted (also as part of a path).

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A checked digest (OCI image spec, "Digests"): `sha256`, `sha384` or `sha512` and lower-case hex of the right length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Checks a text.
    ///
    /// # Errors
    /// `InvalidArgument`, with go-digest's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(Error::InvalidArgument(format!(
                "digest {text:?}: invalid checksum digest format"
            )));
        };
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => {
                return Err(Error::InvalidArgument(format!(
                    "digest {text:?}: unsupported digest algorithm"
                )));
            }
        };
        if hex.len() != length {
            return Err(Error::InvalidArgument(format!(
                "digest {text:?}: invalid checksum digest length"
            )));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::InvalidArgument(format!(
                "digest {text:?}: invalid checksum digest format"
            )));
        }
        Ok(Digest(text.to_owned()))
    }

    /// From the 32 bytes of a finished SHA-256.
    #[must_use]
    pub fn from_sha256(hash: &[u8; 32]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }

    /// `sha256` and so on.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hex after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Digest::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn only_whole_lower_case_hex_passes() {
        let good = format!("sha256:{}", "0a".repeat(32));
        let digest = Digest::parse(&good).unwrap();
        assert_eq!((digest.algorithm(), digest.hex().len()), ("sha256", 64));
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../../etc/passwd",
            "md5:00",
            &good.to_uppercase(),
            &good[..70],
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }
}
