//! Content digests (OCI image spec, descriptor.md "Digests"): parsed strictly, with the error texts of Go's `go-digest`.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// Why a text is no digest, or content not what its digest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `algorithm:hex` with lower-case hex.
    #[error("invalid checksum digest format")]
    Format,
    /// Hex of the wrong length for the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// An algorithm other than sha256 and sha512.
    #[error("unsupported digest algorithm")]
    Unsupported,
    /// Content with another digest.
    #[error("content digest {found} does not match expected {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What the content has.
        found: Digest,
    },
}

/// The hash functions that a digest can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the one in use.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest: `sha256:` and 64 lower-case hexadecimal digits (or `sha512:` and 128).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

impl Digest {
    /// The SHA-256 digest of some bytes.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(content);
        hasher.finish()
    }

    /// A SHA-256 digest from the raw 32 bytes of the hash.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self::from_hash(Algorithm::Sha256, &hash)
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        Self {
            algorithm,
            text: format!("{}:{}", algorithm.name(), hex::encode(hash)).into(),
        }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The first twelve hexadecimal digits, as Docker prints short ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// A hasher for content that should have this digest.
    pub fn hasher(&self) -> Hasher {
        Hasher::with(self.algorithm)
    }

    /// Checks bytes against the digest.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn verify(&self, content: &[u8]) -> Result<(), Error> {
        let mut hasher = self.hasher();
        hasher.update(content);
        self.compare(hasher.finish())
    }

    /// Compares with the digest found by a [`Hasher`].
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn compare(&self, found: Digest) -> Result<(), Error> {
        if *self == found {
            Ok(())
        } else {
            Err(Error::Mismatch {
                expected: self.clone(),
                found,
            })
        }
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, hex) = text.split_once(':').ok_or(Error::Format)?;
        if name.is_empty() || hex.is_empty() {
            return Err(Error::Format);
        }
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ if is_algorithm(name) => return Err(Error::Unsupported),
            _ => return Err(Error::Format),
        };
        if hex.len() != algorithm.hex_length() {
            return Err(Error::Length);
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::Format);
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}

/// `component([+._-]component)*` of lower-case letters and digits.
fn is_algorithm(name: &str) -> bool {
    name.split(['+', '.', '_', '-'])
        .all(|c| !c.is_empty() && c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl TryFrom<&str> for Digest {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes content as it comes.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// A SHA-256 hasher.
    pub fn new() -> Self {
        Self::with(Algorithm::Sha256)
    }

    /// A hasher of the given function.
    pub fn with(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        })
    }

    /// Takes more content.
    pub fn update(&mut self, content: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(content),
            State::Sha512(state) => state.update(content),
        }
    }

    /// The digest of all that was taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::from_hash(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_hash(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.update(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that hashes and counts what passes through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    /// Reads from `inner`, hashing for `digest`'s function.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Self {
            inner,
            hasher: Hasher::with(algorithm),
            bytes: 0,
        }
    }

    /// The digest and the number of bytes of what has passed.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_digest() {
        let digest = Digest::of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), digest);
        digest.verify(b"").unwrap();
        assert!(matches!(digest.verify(b"x"), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn refusals_have_the_words_of_go_digest() {
        let cases = [
            ("", "invalid checksum digest format"),
            ("sha256", "invalid checksum digest format"),
            ("sha256:", "invalid checksum digest format"),
            (":abc", "invalid checksum digest format"),
            ("sha256:abc", "invalid checksum digest length"),
            ("md5:abc", "unsupported digest algorithm"),
            ("SHA256:abc", "invalid checksum digest format"),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), error, "{text:?}");
        }
        let upper = EMPTY.replace("e3b0", "E3B0");
        assert_eq!(upper.parse::<Digest>(), Err(Error::Format));
        assert_eq!(format!("{EMPTY}0").parse::<Digest>(), Err(Error::Length));
        assert_eq!(EMPTY.replace("855", "85/").parse::<Digest>(), Err(Error::Format));
    }

    #[test]
    fn a_reader_counts_and_hashes() {
        let mut reader = HashingReader::new(&b"hello"[..], Algorithm::Sha512);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (digest, bytes) = reader.finish();
        assert_eq!(bytes, 5);
        digest.verify(b"hello").unwrap();
        assert_eq!(digest.hex().len(), 128);
    }

    #[test]
    fn json_is_strict() {
        assert!(serde_json::from_str::<Digest>("\"sha256:1\"").is_err());
        let digest: Digest = serde_json::from_str(&format!("{EMPTY:?}")).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("{EMPTY:?}"));
    }
}
