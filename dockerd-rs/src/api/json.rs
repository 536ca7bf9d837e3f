//! Request bodies: JSON as Go's decoder takes it.
//!
//! Clients in other languages send `null` where they mean "not said" (docker-py does so everywhere); Go takes that as the zero value. Nulls are
//! therefore taken out before decoding, except as values of the maps whose keys are data.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Maps whose keys count though their value is null, and whether such a value is a list.
const KEYED: [(&str, bool); 4] = [
    ("EndpointsConfig", false),
    ("ExposedPorts", false),
    ("Volumes", false),
    ("PortBindings", true),
];

/// A JSON request body; an empty body is an empty object.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|e| Error::invalid(format!("reading the request body: {e}")))?;
        decode(&bytes).map(Self)
    }
}

/// Decodes a request body.
///
/// # Errors
/// 400 when it is not JSON, or not of this shape.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut value = if bytes.iter().all(u8::is_ascii_whitespace) {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(bytes).map_err(|e| Error::invalid(format!("invalid JSON: {e}")))?
    };
    strip_nulls(&mut value);
    serde_json::from_value(value).map_err(|e| Error::invalid(format!("invalid JSON: {e}")))
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, list) in KEYED {
                if let Some(Value::Object(inner)) = map.get_mut(key) {
                    for slot in inner.values_mut().filter(|slot| slot.is_null()) {
                        *slot = if list {
                            Value::Array(Vec::new())
                        } else {
                            Value::Object(serde_json::Map::new())
                        };
                    }
                }
            }
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_absent_but_keys_of_data_maps_stay() {
        let value: Value =
            decode(br#"{"Hostname":null,"Volumes":{"/x":null},"HostConfig":{"PortBindings":{"80/tcp":null}}}"#)
                .unwrap();
        assert_eq!(
            value,
            serde_json::json!({"Volumes":{"/x":{}},"HostConfig":{"PortBindings":{"80/tcp":[]}}})
        );
        assert_eq!(decode::<Value>(b" \n").unwrap(), serde_json::json!({}));
        assert!(decode::<Value>(b"{").is_err());
    }
}
