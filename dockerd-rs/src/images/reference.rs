//! Image references: the grammar of the distribution project, with Docker's defaults and short forms.

use crate::error::{Error, Result};

/// The registry that a name without one means.
const DEFAULT_DOMAIN: &str = "docker.io";
/// What stands before a one-part name of the default registry.
const OFFICIAL: &str = "library/";
/// Longest repository name, in bytes.
const NAME_LIMIT: usize = 255;

/// A normalized reference: where, what, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Parses a name as users write it: `debian`, `me/app:1`, `localhost:5000/x@sha256:...`.
    ///
    /// # Errors
    /// 400 with Docker's text: `invalid reference format`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid("invalid reference format");
        if is_digest_hex(text) {
            let why = "cannot specify 64-byte hexadecimal strings";
            return Err(Error::invalid(format!("invalid repository name ({text}), {why}")));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(bad()),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(bad());
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = format!("repository name ({path}) must be lowercase");
            return Err(Error::invalid(format!("invalid reference format: {lower}")));
        }
        if !is_domain(&domain) || !is_path(&path) {
            return Err(bad());
        }
        if path.len() > NAME_LIMIT {
            let limit = format!("repository name must not be more than {NAME_LIMIT} characters");
            return Err(Error::invalid(limit));
        }
        Ok(Self {
            domain,
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry host.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, when one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one was given.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The full repository name, `docker.io/library/debian`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository with a tag and nothing else.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository with a digest and nothing else.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> Self {
        Self {
            tag: None,
            digest: Some(digest.to_owned()),
            ..self.clone()
        }
    }

    /// The tag `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn or_latest(&self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.with_tag("latest")
        } else {
            self.clone()
        }
    }

    /// The short form of the repository that Docker prints: `debian`, `me/app`, `localhost:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The short form with tag and digest.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The name under which containerd keeps the image: full, and by digest alone where there is one.
    pub fn canonical(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => format!("{}{}", self.repository(), self.suffix()),
        }
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(tag) = &self.tag {
            suffix.push(':');
            suffix.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            suffix.push('@');
            suffix.push_str(digest);
        }
        suffix
    }
}

/// Whether it is `sha256:` or `sha512:` with the right number of lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match text.split_once(':') {
        Some(("sha256", rest)) => rest.len() == 64 && hex(rest),
        Some(("sha512", rest)) => rest.len() == 128 && hex(rest),
        _ => false,
    }
}

/// Whether it is 64 lower-case hexadecimal digits: an id, never a name.
pub fn is_digest_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Splits off the registry: the first part is one when it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            (first, rest.to_owned())
        }
        _ => (DEFAULT_DOMAIN, name.to_owned()),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{path}"));
    }
    (domain.to_owned(), path)
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    let good = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(good)
}

/// Components of lower-case letters and digits, joined inside by `.`, `_`, `__` or any number of `-`.
fn is_path(text: &str) -> bool {
    text.split('/').all(|component| {
        let mut separator = String::new();
        let mut last_was_word = false;
        for c in component.chars() {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                let fine = separator.is_empty()
                    || matches!(separator.as_str(), "." | "_" | "__")
                    || separator.chars().all(|s| s == '-');
                if !fine || (!separator.is_empty() && !last_was_word) {
                    return false;
                }
                separator.clear();
                last_was_word = true;
            } else {
                if !last_was_word || !matches!(c, '.' | '_' | '-') {
                    return false;
                }
                separator.push(c);
            }
        }
        last_was_word && separator.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_and_shortened_again() {
        let hex = "a".repeat(64);
        for (text, canonical, familiar) in [
            ("debian", "docker.io/library/debian".to_owned(), "debian".to_owned()),
            ("debian:12", "docker.io/library/debian:12".into(), "debian:12".into()),
            ("me/app", "docker.io/me/app".into(), "me/app".into()),
            ("docker.io/me/app:x", "docker.io/me/app:x".into(), "me/app:x".into()),
            ("index.docker.io/app", "docker.io/library/app".into(), "app".into()),
            ("localhost/x", "localhost/x".into(), "localhost/x".into()),
            (
                "localhost:5000/a/b:t",
                "localhost:5000/a/b:t".into(),
                "localhost:5000/a/b:t".into(),
            ),
            ("[::1]:5000/a", "[::1]:5000/a".into(), "[::1]:5000/a".into()),
        ] {
            let parsed = Reference::parse(text).unwrap();
            assert_eq!((parsed.canonical(), parsed.familiar()), (canonical, familiar), "{text}");
        }
        let both = Reference::parse(&format!("x:1@sha256:{hex}")).unwrap();
        assert_eq!(both.canonical(), format!("docker.io/library/x@sha256:{hex}"));
        assert_eq!(Reference::parse("x").unwrap().or_latest().familiar(), "x:latest");
    }

    #[test]
    fn bad_names_are_refused_in_dockers_words() {
        for text in [
            "",
            ":x",
            "a//b",
            "a/",
            "-a",
            "a..b",
            "a:",
            "a:b:c/",
            "a@sha256:12",
            "a b",
            "../a",
            "a___b",
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert_eq!(error.message, "invalid reference format", "{text:?}");
        }
        let upper = Reference::parse("Foo").unwrap_err().message;
        assert_eq!(
            upper,
            "invalid reference format: repository name (library/Foo) must be lowercase"
        );
        assert!(
            Reference::parse(&"a".repeat(64))
                .unwrap_err()
                .message
                .contains("64-byte hexadecimal")
        );
        assert!(Reference::parse("a_b__c---d.e").is_ok());
    }
}
