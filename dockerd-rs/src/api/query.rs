//! Query parameters as Docker takes them: flags are set by anything but `0`, `no`, `false`, `none` and nothing.

use std::collections::HashMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::error::{Error, Result};

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = query.map_err(|e| Error::invalid(e.to_string()))?;
        let mut all = HashMap::new();
        for (key, value) in pairs {
            all.entry(key).or_insert(value);
        }
        Ok(Self(all))
    }
}

impl Params {
    /// A parameter that is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A flag.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "no" | "false" | "none"))
    }

    /// A number.
    ///
    /// # Errors
    /// 400 for what is none.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::invalid(format!("invalid value for {key}: {text:?}")))
            })
            .transpose()
    }
}
