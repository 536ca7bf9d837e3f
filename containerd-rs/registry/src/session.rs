//! One user's business with registries: resolve names, list tags, try a login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK};
use hyper::{Method, Response, StatusCode};

use crate::auth::Tokens;
use crate::blob::BlobReader;
use crate::digest::clip;
use crate::document::{self, DOCUMENT_LIMIT};
use crate::endpoint::check_host;
use crate::transport::{Call, Transport, read_body, status_error};
use crate::{
    BlobStream, Config, Credentials, Descriptor, Digest, Endpoint, Fetcher, MediaType, RegistryError, Repository,
    Resolver, challenge, digest,
};

/// Most tags that [`Session::tags`] returns.
const TAGS_LIMIT: usize = 20_000;

/// The daemon's side of the client: connections, trust and rules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    transport: Arc<Transport>,
}

impl Registry {
    /// A client with the rules of `config`.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a mirror or an insecure host that is malformed.
    pub fn new(config: &Config) -> Result<Self, RegistryError> {
        Ok(Self {
            transport: Arc::new(Transport::new(config)?),
        })
    }

    /// A session of a user: `credentials` and the exact registry host that they are for.
    pub fn session(&self, credentials: Option<(String, Credentials)>) -> Session {
        let inner = Inner {
            transport: self.transport.clone(),
            credentials,
            tokens: Tokens::default(),
            chosen: Mutex::default(),
        };
        Session { inner: Arc::new(inner) }
    }
}

/// A [`Resolver`] over the distribution protocol, with one user's credentials. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<Transport>,
    credentials: Option<(String, Credentials)>,
    tokens: Tokens,
    /// The endpoint that has answered for a host, to begin with it next time.
    chosen: Mutex<HashMap<String, Endpoint>>,
}

/// What is asked of a registry, before an endpoint is chosen.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// The registry host as references name it.
    pub(crate) host: String,
    /// What follows `/v2/`.
    pub(crate) rest: String,
    /// The token scope that it needs.
    pub(crate) scope: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

impl Ask {
    pub(crate) fn of(repository: &Repository, method: Method, rest: &str) -> Self {
        Self {
            method,
            host: repository.host().to_owned(),
            rest: format!("{}/{rest}", repository.path()),
            scope: format!("repository:{}:pull", repository.path()),
            headers: Vec::new(),
        }
    }
}

impl Session {
    /// Sends a request to the host's endpoints in turn, until one gives a success. Transport failures lead on to the next
    /// endpoint, any other only when it is a mirror's. The reply is a success or an error.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<(Response<Incoming>, url::Url), RegistryError> {
        check_host(&ask.host)?;
        let mut endpoints = self.inner.transport.rules.endpoints(&ask.host).await?;
        if let Some(chosen) = self.chosen(&ask.host)
            && let Some(at) = endpoints.iter().position(|e| *e == chosen)
        {
            // The plain endpoint of an insecure host stays chosen alone: it spoke no TLS.
            if chosen.mirror {
                endpoints.rotate_left(at)
            } else {
                endpoints = vec![chosen]
            }
        }
        let mut first_error = None;
        for endpoint in &endpoints {
            match self.ask_endpoint(ask, endpoint).await {
                Ok(found) => {
                    let mut chosen = self.inner.chosen.lock().unwrap_or_else(PoisonError::into_inner);
                    chosen.insert(ask.host.clone(), endpoint.clone());
                    return Ok(found);
                }
                Err(error) => {
                    let last = endpoints.last() == Some(endpoint);
                    if last || !(endpoint.mirror || error.is_transport()) {
                        return Err(error);
                    }
                    tracing::debug!(endpoint = %endpoint.base, %error, "trying the next endpoint");
                    first_error.get_or_insert(error);
                }
            }
        }
        let reason = "no endpoint".to_owned();
        Err(first_error.unwrap_or(RegistryError::Invalid {
            field: "host",
            value: clip(&ask.host),
            reason,
        }))
    }

    fn chosen(&self, host: &str) -> Option<Endpoint> {
        self.inner
            .chosen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }

    /// The credentials that may be shown to an endpoint: those given for exactly this host, and none to a mirror.
    fn credentials_for(&self, host: &str, endpoint: &Endpoint) -> Option<&Credentials> {
        let (of, credentials) = self.inner.credentials.as_ref()?;
        (of == host && !endpoint.mirror).then_some(credentials)
    }

    /// Sends a request to one endpoint, answering its challenge when it makes one.
    async fn ask_endpoint(
        &self,
        ask: &Ask,
        endpoint: &Endpoint,
    ) -> Result<(Response<Incoming>, url::Url), RegistryError> {
        let transport = &self.inner.transport;
        let url = endpoint.url(&ask.rest)?;
        let mut authorization = self.inner.tokens.get(endpoint, &ask.scope);
        let mut answered = false;
        loop {
            let mut call = Call::get(url.clone(), endpoint.verify);
            call.method = ask.method.clone();
            for (name, value) in &ask.headers {
                call = call.header(name.clone(), value)?;
            }
            if let Some(value) = &authorization {
                call = call.header(AUTHORIZATION, value)?;
            }
            let response = transport.send(&call).await?;
            let status = response.status();
            if status.is_success() {
                return Ok((response, url));
            }
            if status != StatusCode::UNAUTHORIZED || answered {
                return Err(status_error(&ask.method, &url, response).await);
            }
            let challenges = challenge::parse(response.headers());
            let credentials = self.credentials_for(&ask.host, endpoint);
            drop(response);
            let tokens = &self.inner.tokens;
            authorization = Some(
                tokens
                    .answer(transport, endpoint, &ask.scope, &challenges, credentials)
                    .await?,
            );
            answered = true;
        }
    }

    /// Asks for a document by HEAD: its descriptor, or nothing where the reply's headers do not tell it.
    async fn resolve_by_head(&self, of: &Repository, reference: &str) -> Result<Option<Descriptor>, RegistryError> {
        let (response, url) = self.ask(&manifest_ask(of, reference, Method::HEAD)).await?;
        let told = Told::read(&response, &url, of, reference)?;
        match (told.digest, told.size) {
            (Some(digest), Some(size)) if told.known && size > 0 => {
                if size > DOCUMENT_LIMIT {
                    return Err(RegistryError::TooLarge {
                        what: digest.to_string(),
                        limit: DOCUMENT_LIMIT,
                    });
                }
                Ok(Some(Descriptor::new(
                    MediaType::from(told.media_type.as_str()),
                    size,
                    digest,
                )))
            }
            _ => Ok(None),
        }
    }

    /// Asks for a document by GET, and verifies and parses it.
    async fn resolve_by_get(&self, of: &Repository, reference: &str) -> Result<Descriptor, RegistryError> {
        let (response, url) = self.ask(&manifest_ask(of, reference, Method::GET)).await?;
        let told = Told::read(&response, &url, of, reference)?;
        let body = read_body(response, &url, DOCUMENT_LIMIT).await?;
        let expected = if reference.contains(':') {
            Some(digest::parse(reference)?)
        } else {
            told.digest
        };
        let digest = match expected {
            Some(digest) => {
                digest::verify(&body, &digest)?;
                digest
            }
            None => digest::parse(&digest::sha256(&body))?,
        };
        let media_type = if told.known {
            told.media_type
        } else {
            document::sniff(&body).ok_or_else(|| RegistryError::Garbage {
                url: url.to_string(),
                reason: format!(
                    "neither a manifest nor an index (content type {:?})",
                    clip(&told.media_type)
                ),
            })?
        };
        document::parse(&media_type, &display(of, reference), &body)?;
        Ok(Descriptor::new(
            MediaType::from(media_type.as_str()),
            body.len() as u64,
            digest,
        ))
    }

    /// The tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// Those of any request; [`RegistryError::Garbage`] for an answer that is not a list of tags.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut ask = Ask::of(repository, Method::GET, "tags/list");
        let path = ask.rest.clone();
        let mut all: Vec<String> = Vec::new();
        loop {
            let (response, url) = self.ask(&ask).await?;
            let next = response
                .headers()
                .get(LINK)
                .and_then(|v| v.to_str().ok())
                .and_then(next_query);
            let body = read_body(response, &url, DOCUMENT_LIMIT).await?;
            let page: Tags = serde_json::from_slice(&body).map_err(|e| RegistryError::Garbage {
                url: url.to_string(),
                reason: e.to_string(),
            })?;
            let before = all.len();
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(query) if all.len() > before && all.len() < TAGS_LIMIT => ask.rest = format!("{path}?{query}"),
                _ => return Ok(all),
            }
        }
    }

    /// Tries the session's credentials on a registry (`docker login`): `GET /v2/`, with the token flow where it asks.
    ///
    /// # Errors
    /// [`RegistryError::is_denied`] when they are refused.
    pub async fn login(&self, host: &str) -> Result<(), RegistryError> {
        let (method, scope) = (Method::GET, String::new());
        let ask = Ask {
            method,
            host: host.to_owned(),
            rest: String::new(),
            scope,
            headers: Vec::new(),
        };
        self.ask(&ask).await.map(|_| ())
    }
}

/// `host/path:tag` or `host/path@digest`, for messages.
fn display(repository: &Repository, reference: &str) -> String {
    let mark = if reference.contains(':') { '@' } else { ':' };
    format!("{}/{}{mark}{reference}", repository.host(), repository.path())
}

/// The query of the next page: `</v2/x/tags/list?last=b&n=1>; rel="next"`. Only the query is taken, so that a registry
/// cannot send us elsewhere.
fn next_query(link: &str) -> Option<String> {
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
fn check_reference(reference: &str) -> Result<(), RegistryError> {
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
fn manifest_ask(repository: &Repository, reference: &str, method: Method) -> Ask {
    let mut ask = Ask::of(repository, method, &format!("manifests/{reference}"));
    ask.headers.push((ACCEPT, document::ACCEPT.to_owned()));
    ask
}

/// What the headers of a reply tell of a document.
struct Told {
    digest: Option<Digest>,
    size: Option<u64>,
    media_type: String,
    /// Whether the media type is one that we use.
    known: bool,
}

impl Told {
    fn read(
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

#[async_trait]
impl Resolver for Session {
    async fn resolve(&self, repository: &Repository, reference: &str) -> Result<Descriptor, RegistryError> {
        check_reference(reference)?;
        match self.resolve_by_head(repository, reference).await {
            Ok(Some(descriptor)) => return Ok(descriptor),
            Ok(None) => {}
            // A HEAD reply has no body: what the registry has to say, and whether it means it, GET will tell.
            Err(RegistryError::Status { status, .. }) => tracing::debug!(%status, reference, "HEAD refused"),
            Err(error) => return Err(error),
        }
        self.resolve_by_get(repository, reference).await
    }

    fn fetcher(&self, repository: &Repository) -> Box<dyn Fetcher> {
        Box::new(RepositoryFetcher {
            session: self.clone(),
            repository: repository.clone(),
        })
    }
}

/// A [`Fetcher`] of one repository of a registry.
#[derive(Debug)]
struct RepositoryFetcher {
    session: Session,
    repository: Repository,
}

#[async_trait]
impl Fetcher for RepositoryFetcher {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, RegistryError> {
        digest::parse(descriptor.digest().as_ref())?;
        let reader = BlobReader::open(
            self.session.clone(),
            self.repository.clone(),
            descriptor.clone(),
            offset,
        );
        Ok(reader.await?.into_stream())
    }

    /// Small documents come in one piece, so there is nothing to resume.
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        if descriptor.size() > DOCUMENT_LIMIT {
            return Err(RegistryError::TooLarge {
                what: descriptor.digest().to_string(),
                limit: DOCUMENT_LIMIT,
            });
        }
        digest::parse(descriptor.digest().as_ref())?;
        let ask = crate::blob::ask_for(&self.repository, descriptor);
        let (response, url) = self.session.ask(&ask).await?;
        let body = read_body(response, &url, DOCUMENT_LIMIT).await?;
        digest::verify(&body, descriptor.digest())?;
        Ok(body)
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
