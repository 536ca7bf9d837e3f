//! Image references, as the image service uses those of [`runtime_spec`].

pub use runtime_spec::Reference;
use runtime_spec::reference;

use crate::error::Error;

impl From<reference::Error> for Error {
    /// 400, with Docker's text.
    fn from(error: reference::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

/// The name under which containerd keeps the image: full, and by digest alone where there is one.
pub(crate) fn canonical(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}

/// Whether it is `sha256:` or `sha512:` with the right number of lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.parse::<runtime_spec::Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_way_to_a_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let both = Reference::parse(&format!("x:1@{digest}")).unwrap();
        assert_eq!(canonical(&both), format!("docker.io/library/x@{digest}"));
        assert_eq!(
            canonical(&Reference::parse("x").unwrap().or_latest()),
            "docker.io/library/x:latest"
        );
        assert!(!is_digest("sha256:..") && !is_digest("x"));
    }
}
