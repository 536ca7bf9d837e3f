//! What is asked for by a tag or a digest, and what the headers of the reply tell.

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Response};

use crate::digest::clip;
use crate::session::Ask;
use crate::{Digest, RegistryError, Repository, digest, document};

/// `host/path:tag` or `host/path@digest`, for messages.
pub(crate) fn display(repository: &Repository, reference: &str) -> String {
    let mark = if reference.contains(':') { '@' } else { ':' };
    format!("{}/{}{mark}{reference}", repository.host(), repository.path())
}

/// The query of the next page: `</v2/x/tags/list?last=b&n=1>; rel="next"`. Only the query is taken, so that a registry
/// cannot send us elsewhere.
pub(crate) fn next_query(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    let query = target.split_once('?')?.1;
    query
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'#')
        .then(|| query.to_owned())
}

/// Tags and digests as the reference grammar has them.
pub(crate) fn check_reference(reference: &str) -> Result<(), RegistryError> {
    if reference.contains(':') {
        return digest::parse(reference).map(|_| ());
    }
    let good = !reference.is_empty()
        && reference.len() <= 128
        && reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !reference.starts_with(['.', '-']);
    if good {
        return Ok(());
    }
    let reason = "not a tag".to_owned();
    Err(RegistryError::Invalid {
        field: "tag",
        value: clip(reference),
        reason,
    })
}

/// The request for a manifest or an index.
pub(crate) fn manifest_ask(repository: &Repository, reference: &str, method: Method) -> Ask {
    let mut ask = Ask::of(repository, method, &format!("manifests/{reference}"));
    ask.headers.push((ACCEPT, document::ACCEPT.to_owned()));
    ask
}

/// What the headers of a reply tell of a document.
pub(crate) struct Told {
    pub(crate) digest: Option<Digest>,
    pub(crate) size: Option<u64>,
    pub(crate) media_type: String,
    /// Whether the media type is one that we use.
    pub(crate) known: bool,
}

impl Told {
    pub(crate) fn read(
        response: &Response<Incoming>,
        url: &url::Url,
        repository: &Repository,
        reference: &str,
    ) -> Result<Self, RegistryError> {
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        if document::is_schema1(&media_type) {
            return Err(RegistryError::Schema1 {
                reference: display(repository, reference),
            });
        }
        let digest = header("docker-content-digest")
            .filter(|d| !d.is_empty())
            .map(|d| digest::parse(&d))
            .transpose();
        let digest = digest.map_err(|e| RegistryError::Garbage {
            url: url.to_string(),
            reason: e.to_string(),
        })?;
        if let (Some(told), true) = (&digest, reference.contains(':'))
            && told.as_ref() != reference
        {
            return Err(RegistryError::Digest {
                expected: reference.to_owned(),
                found: told.to_string(),
            });
        }
        let size = header(CONTENT_LENGTH.as_str()).and_then(|v| v.parse::<u64>().ok());
        let known = document::is_index(&media_type) || document::is_manifest(&media_type);
        Ok(Self {
            digest,
            size,
            media_type,
            known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_query_and_nothing_else() {
        assert_eq!(
            next_query(r#"</v2/x/tags/list?last=b&n=1>; rel="next""#).as_deref(),
            Some("last=b&n=1")
        );
        assert_eq!(next_query(r#"<https://evil/?a=b>; rel="next""#).as_deref(), Some("a=b"));
        assert_eq!(next_query(r#"</v2/x/tags/list?last=b>; rel="prev""#), None);
        assert_eq!(next_query("<?a b>; rel=next"), None);
    }

    #[test]
    fn references_that_could_bend_a_url_are_refused() {
        for bad in ["", "a/b", "../x", "a?b", "sha256:zz", "a b", "-x", &"a".repeat(129)] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
        assert!(check_reference("v1.2_3-x").is_ok());
    }
}
