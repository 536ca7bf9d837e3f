//! Credentials, and the tokens that they buy.
//!
//! The flow is Docker's: a 401 names a token server (`realm`) and what to ask it for; the token is asked for by `GET`
//! with Basic credentials, or by `POST` (OAuth 2) when what we hold is an identity token. Tokens are kept per endpoint and
//! scope until the registry refuses them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use url::Url;

use crate::RegistryError;
use crate::challenge::Challenge;
use crate::digest::clip;
use crate::endpoint::{Endpoint, authority};
use crate::transport::{Call, Transport, read_body, status_error};

/// Largest answer of a token server, in bytes.
const TOKEN_LIMIT: u64 = 1024 * 1024;

/// What a user has to show to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// An OAuth 2 refresh token that `docker login` was given.
    IdentityToken(String),
    /// A bearer token to be used as it is.
    RegistryToken(String),
}

impl std::fmt::Debug for Credentials {
    /// Never prints a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
            Self::IdentityToken(_) => write!(f, "IdentityToken"),
            Self::RegistryToken(_) => write!(f, "RegistryToken"),
        }
    }
}

impl Credentials {
    fn basic(&self) -> Option<String> {
        match self {
            Self::Basic { username, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            _ => None,
        }
    }
}

/// The `Authorization` values in use, by endpoint and scope.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<(String, String), String>>,
}

impl Tokens {
    /// The value to send at once, when an earlier challenge has told it.
    pub(crate) fn get(&self, endpoint: &Endpoint, scope: &str) -> Option<String> {
        let key = (endpoint.base.to_string(), scope.to_owned());
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }

    fn put(&self, endpoint: &Endpoint, scope: &str, value: String) {
        let key = (endpoint.base.to_string(), scope.to_owned());
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, value);
    }

    /// Answers the challenges of `endpoint`: the `Authorization` value to try next. `credentials` are those for this very
    /// endpoint's host.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &str,
        challenges: &[Challenge],
        credentials: Option<&Credentials>,
    ) -> Result<String, RegistryError> {
        let url = endpoint.base.to_string();
        let value = match (challenges.first(), credentials) {
            (Some(Challenge::Bearer { .. }), Some(Credentials::RegistryToken(token))) => format!("Bearer {token}"),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope: asked,
                    ..
                }),
                _,
            ) => {
                let wanted = asked.as_deref().filter(|s| !s.is_empty()).unwrap_or(scope);
                let grant = Grant {
                    realm,
                    service: service.as_deref(),
                    scope: wanted,
                };
                format!(
                    "Bearer {}",
                    fetch_token(transport, endpoint, &grant, credentials).await?
                )
            }
            (Some(Challenge::Basic), Some(held)) => held.basic().ok_or(RegistryError::NoCredentials { url })?,
            (Some(Challenge::Basic), None) => return Err(RegistryError::NoCredentials { url }),
            (None, _) => {
                let message = "401 without a challenge that we understand".to_owned();
                return Err(RegistryError::Unauthorized { url, message });
            }
        };
        self.put(endpoint, scope, value.clone());
        Ok(value)
    }
}

/// What is asked of a token server.
struct Grant<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
}

#[derive(Deserialize)]
struct TokenReply {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The URL of the token server. One that is not reached by TLS is used only where the registry itself is not, and
/// must not be either: a registry that had to prove itself cannot have our password sent in the clear.
async fn realm_url(transport: &Transport, endpoint: &Endpoint, realm: &str) -> Result<(Url, bool), RegistryError> {
    let garbage = |reason: String| RegistryError::Garbage {
        url: endpoint.base.to_string(),
        reason,
    };
    let url = Url::parse(realm).map_err(|e| garbage(format!("token realm {:?}: {e}", clip(realm))))?;
    let insecure = url.host_str().is_some() && transport.rules.is_insecure(&authority(&url)).await;
    match url.scheme() {
        "https" => Ok((url, !insecure)),
        "http" if insecure || endpoint.base.scheme() == "http" => Ok((url, false)),
        _ => Err(garbage(format!("token realm {:?} is not reached by TLS", clip(realm)))),
    }
}

async fn fetch_token(
    transport: &Transport,
    endpoint: &Endpoint,
    grant: &Grant<'_>,
    credentials: Option<&Credentials>,
) -> Result<String, RegistryError> {
    let (url, verify) = realm_url(transport, endpoint, grant.realm).await?;
    let call = match credentials {
        Some(Credentials::IdentityToken(token)) => post_call(url.clone(), verify, grant, token)?,
        other => get_call(url.clone(), verify, grant, other)?,
    };
    let response = transport.send(&call).await?;
    if !response.status().is_success() {
        let error = status_error(&call.method, &url, response).await;
        if error.is_denied() {
            let said: Vec<String> = error.api_errors().iter().map(|e| e.message.clone()).collect();
            let message = if said.is_empty() {
                error.to_string()
            } else {
                said.join(", ")
            };
            return Err(RegistryError::Unauthorized {
                url: endpoint.base.to_string(),
                message,
            });
        }
        return Err(error);
    }
    let garbage = |reason: String| RegistryError::Garbage {
        url: url.to_string(),
        reason,
    };
    let body = read_body(response, &url, TOKEN_LIMIT).await?;
    let reply: TokenReply = serde_json::from_slice(&body).map_err(|e| garbage(format!("token: {e}")))?;
    let token = reply
        .token
        .filter(|t| !t.is_empty())
        .or(reply.access_token)
        .filter(|t| !t.is_empty());
    token.ok_or_else(|| garbage("authorization server did not include a token in the response".to_owned()))
}

fn get_call(url: Url, verify: bool, grant: &Grant<'_>, held: Option<&Credentials>) -> Result<Call, RegistryError> {
    let mut url = url;
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = grant.service {
            query.append_pair("service", service);
        }
        for scope in grant.scope.split(' ').filter(|s| !s.is_empty()) {
            query.append_pair("scope", scope);
        }
        if let Some(Credentials::Basic { username, .. }) = held {
            query.append_pair("account", username);
        }
    }
    let call = Call::get(url, verify);
    match held.and_then(Credentials::basic) {
        Some(value) => call.header(AUTHORIZATION, &value),
        None => Ok(call),
    }
}

fn post_call(url: Url, verify: bool, grant: &Grant<'_>, token: &str) -> Result<Call, RegistryError> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("service", grant.service.unwrap_or_default());
    form.append_pair("client_id", "docker");
    form.append_pair("scope", grant.scope);
    form.append_pair("refresh_token", token);
    let mut call = Call::get(url, verify).header(CONTENT_TYPE, "application/x-www-form-urlencoded")?;
    call.method = Method::POST;
    call.body = Bytes::from(form.finish());
    Ok(call)
}
