//! One user's business with registries: resolve names, list tags, try a login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, LINK};
use hyper::{Method, Response, StatusCode};

use crate::auth::Tokens;
use crate::blob::BlobReader;
use crate::digest::clip;
use crate::document::{self, DOCUMENT_LIMIT};
use crate::endpoint::check_host;
use crate::told::{Told, check_reference, display, manifest_ask, next_query};
use crate::transport::{Call, Transport, read_body, status_error};
use crate::{
    BlobStream, Config, Credentials, Descriptor, Endpoint, Fetcher, MediaType, RegistryError, Repository, Resolver,
    challenge, digest,
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
