//! API versions: the `/v1.NN` prefix, its range, and Docker's words for what is out of it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Request, Uri};

use crate::error::{Error, Result};

/// The oldest version that is served.
pub const MIN_VERSION: ApiVersion = ApiVersion(40);
/// The newest version that is served; what an unversioned path means.
pub const MAX_VERSION: ApiVersion = ApiVersion(56);
/// [`MAX_VERSION`] as text.
pub(super) const MAX_TEXT: &str = "1.56";

/// The version a request is made in; holds the minor number (`1.NN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl ApiVersion {
    /// Whether it is `1.minor` or newer.
    pub fn at_least(self, minor: u16) -> bool {
        self.0 >= minor
    }
}

impl<S: Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(MAX_VERSION))
    }
}

/// Takes the version prefix off the request's path.
///
/// # Errors
/// 400 for a version out of range, in Docker's words.
pub(super) fn strip_prefix<B>(request: &mut Request<B>) -> Result<ApiVersion> {
    let path = request.uri().path();
    let Some((version, rest)) = split(path) else {
        return Ok(MAX_VERSION);
    };
    let parsed = parse(version)?;
    let rest = if rest.is_empty() { "/" } else { rest };
    let target = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    *request.uri_mut() = target
        .parse::<Uri>()
        .map_err(|e| Error::invalid(format!("invalid path {target}: {e}")))?;
    Ok(parsed)
}

/// `/v1.41/info` into `1.41` and `/info`.
fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (version, rest) = rest.split_at(end);
    let numeric = version.contains('.') && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    numeric.then_some((version, rest))
}

fn parse(version: &str) -> Result<ApiVersion> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |text: &str| text.parse::<u16>().unwrap_or(u16::MAX);
    let (major, minor) = (number(major), number(minor));
    if major < 1 || (major == 1 && minor < MIN_VERSION.0) {
        return Err(Error::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {MIN_VERSION}, \
             please upgrade your client to a newer version"
        )));
    }
    if major > 1 || minor > MAX_VERSION.0 {
        return Err(Error::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {MAX_VERSION}"
        )));
    }
    Ok(ApiVersion(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(path: &str) -> Result<(ApiVersion, String)> {
        let mut request = Request::builder().uri(path).body(()).unwrap();
        let version = strip_prefix(&mut request)?;
        Ok((version, request.uri().to_string()))
    }

    #[test]
    fn prefix_comes_off_and_query_stays() {
        assert_eq!(
            strip("/v1.41/containers/json?all=1").unwrap(),
            (ApiVersion(41), "/containers/json?all=1".into())
        );
        assert_eq!(strip("/volumes/v1").unwrap(), (MAX_VERSION, "/volumes/v1".into()));
        assert_eq!(strip("/version").unwrap(), (MAX_VERSION, "/version".into()));
    }

    #[test]
    fn versions_out_of_range_are_refused_in_dockers_words() {
        assert_eq!(
            strip("/v1.39/info").unwrap_err().message,
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"
        );
        assert_eq!(
            strip("/v1.99/info").unwrap_err().message,
            "client version 1.99 is too new. Maximum supported API version is 1.56"
        );
        assert!(strip("/v2.0/info").is_err());
    }
}
