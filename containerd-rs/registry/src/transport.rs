//! One HTTP exchange: connection per host, redirects, bounded retries, bounded bodies.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use crate::digest::clip;
use crate::endpoint::{Rules, authority};
use crate::error::ApiError;
use crate::{RegistryError, tls};

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the head of a reply, or the next piece of a body, may take.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often one exchange is tried when the server is busy or failing.
const TRIES: u32 = 4;
/// The longest pause that a `Retry-After` gets.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How much of an error reply is read, in bytes.
const ERROR_LIMIT: u64 = 64 * 1024;

/// A request, before it has a connection.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// Whether the certificate of the first host must be valid. Hosts reached by a redirect follow the rules for them.
    pub(crate) verify: bool,
}

impl Call {
    pub(crate) fn get(url: Url, verify: bool) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            verify,
        }
    }

    /// Adds a header; values that cannot be one are an error that names it.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, RegistryError> {
        let mut header = HeaderValue::from_str(value).map_err(|e| RegistryError::Invalid {
            field: "header",
            value: name.to_string(),
            reason: e.to_string(),
        })?;
        header.set_sensitive(name == AUTHORIZATION);
        self.headers.push((name, header));
        Ok(self)
    }
}

/// What all sessions share: connections, trust, rules.
pub(crate) struct Transport {
    clients: Mutex<HashMap<(String, bool), HttpClient>>,
    certs_dir: PathBuf,
    user_agent: HeaderValue,
    pub(crate) rules: Rules,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("certs_dir", &self.certs_dir)
            .field("rules", &self.rules)
            .finish()
    }
}

impl Transport {
    pub(crate) fn new(config: &crate::Config) -> Result<Self, RegistryError> {
        let user_agent = HeaderValue::from_str(&config.user_agent).map_err(|e| RegistryError::Invalid {
            field: "user agent",
            value: clip(&config.user_agent),
            reason: e.to_string(),
        })?;
        let rules = Rules::new(config)?;
        Ok(Self {
            clients: Mutex::default(),
            certs_dir: config.certs_dir.clone(),
            user_agent,
            rules,
        })
    }

    /// The client for a host. Made on first use and kept, with its idle connections.
    fn client(&self, host: &str, verify: bool) -> Result<HttpClient, RegistryError> {
        let key = (host.to_owned(), verify);
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let config = tls::client_config(&self.certs_dir, host, verify)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client: HttpClient = Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, client.clone());
        Ok(client)
    }

    /// One request, one reply head.
    async fn once(&self, call: &Call) -> Result<Response<Incoming>, RegistryError> {
        let failed = |reason: String| RegistryError::Transport {
            method: title(&call.method),
            url: call.url.to_string(),
            reason,
        };
        let client = self.client(&authority(&call.url), call.verify)?;
        let mut builder = Request::builder().method(call.method.clone()).uri(call.url.as_str());
        builder = builder.header(USER_AGENT, self.user_agent.clone());
        for (name, value) in &call.headers {
            builder = builder.header(name, value);
        }
        let request = builder
            .body(Full::new(call.body.clone()))
            .map_err(|e| failed(e.to_string()))?;
        match tokio::time::timeout(STALL_TIMEOUT, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failed(reason(&error, &call.url))),
            Err(_) => Err(failed("net/http: timeout awaiting response headers".to_owned())),
        }
    }

    /// As [`Self::once`], again when the server is busy (429) or failing (5xx), a bounded number of times.
    async fn patiently(&self, call: &Call) -> Result<Response<Incoming>, RegistryError> {
        let mut tries = 1;
        loop {
            let response = self.once(call).await?;
            let status = response.status();
            let again = status == StatusCode::TOO_MANY_REQUESTS
                || status == StatusCode::REQUEST_TIMEOUT
                || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
            if !again || tries >= TRIES {
                return Ok(response);
            }
            let asked = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok()?.parse().ok());
            let pause = asked
                .map_or(Duration::from_millis(100 << tries), Duration::from_secs)
                .min(MAX_PAUSE);
            tracing::debug!(url = %call.url, %status, ?pause, "registry asks for patience");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// Sends the request and follows redirects. Credentials stay with the host they were made for, and a host that had
    /// to prove itself cannot send us on to one that does not.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response<Incoming>, RegistryError> {
        let mut call = call.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.patiently(&call).await?;
            let follow = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                && matches!(call.method, Method::GET | Method::HEAD);
            if !follow {
                return Ok(response);
            }
            let garbage = |reason: &str| RegistryError::Garbage {
                url: call.url.to_string(),
                reason: reason.to_owned(),
            };
            let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
            let location = location.ok_or_else(|| garbage("redirect without a Location"))?;
            let next = call
                .url
                .join(location)
                .map_err(|e| garbage(&format!("redirect: {e}")))?;
            if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
                return Err(garbage("redirect to something that is not HTTP"));
            }
            let same = next.origin() == call.url.origin();
            if !same {
                call.headers.retain(|(name, _)| *name != AUTHORIZATION);
                call.verify = !self.rules.is_insecure(&authority(&next)).await;
                if call.url.scheme() == "https" && next.scheme() == "http" && call.verify {
                    return Err(garbage("redirect from https to http"));
                }
            }
            call.url = next;
        }
        Err(RegistryError::Garbage {
            url: call.url.to_string(),
            reason: "too many redirects".to_owned(),
        })
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(response: Response<Incoming>, url: &Url, limit: u64) -> Result<Bytes, RegistryError> {
    let broken = |reason: String| RegistryError::Transport {
        method: "Get".to_owned(),
        url: url.to_string(),
        reason,
    };
    let mut body = response.into_body();
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(STALL_TIMEOUT, body.frame()).await;
        let frame = match frame.map_err(|_| broken("the body stalled".to_owned()))? {
            None => return Ok(bytes.freeze()),
            Some(frame) => frame.map_err(|e| broken(format!("unexpected EOF: {}", chain(&e))))?,
        };
        if let Some(data) = frame.data_ref() {
            if (bytes.len() + data.len()) as u64 > limit {
                return Err(RegistryError::TooLarge {
                    what: url.to_string(),
                    limit,
                });
            }
            bytes.extend_from_slice(data);
        }
    }
}

/// Makes an error of a reply that is not a success, with the registry's own words when there are any.
pub(crate) async fn status_error(method: &Method, url: &Url, response: Response<Incoming>) -> RegistryError {
    #[derive(serde::Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<ApiError>,
    }
    let status = response.status();
    let body = read_body(response, url, ERROR_LIMIT).await.unwrap_or_default();
    let mut errors = serde_json::from_slice::<Errors>(&body)
        .map(|e| e.errors)
        .unwrap_or_default();
    errors.truncate(8);
    for error in &mut errors {
        error.code = clip(&error.code);
        error.message = clip(&error.message);
    }
    RegistryError::Status {
        method: method.to_string(),
        url: url.to_string(),
        status,
        errors,
    }
}

/// `Get`, `Head`: as Go prints methods in its errors.
pub(crate) fn title(method: &Method) -> String {
    let name = method.as_str();
    format!("{}{}", &name[..1], name[1..].to_ascii_lowercase())
}

/// All causes of an error, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

/// The cause of a failed exchange in the words that Docker's users know, where they know any.
fn reason(error: &(dyn std::error::Error + 'static), url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let target = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return tls_reason(tls);
        }
        source = inner.source();
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return format!("dial tcp {target}: connect: connection refused");
                }
                std::io::ErrorKind::ConnectionReset => return "read: connection reset by peer".to_owned(),
                std::io::ErrorKind::TimedOut => return format!("dial tcp {target}: i/o timeout"),
                std::io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                _ => {}
            }
            // What an I/O error wraps is not among its sources.
            if let Some(wrapped) = io.get_ref() {
                source = Some(wrapped);
            }
        }
    }
    let text = chain(error);
    if text.contains("dns error") {
        return format!("dial tcp: lookup {host}: no such host");
    }
    text
}

fn tls_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("tls: failed to verify certificate: x509: {other}"),
        other => format!("tls: {other}"),
    }
}
