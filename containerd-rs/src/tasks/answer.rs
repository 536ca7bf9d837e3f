//! What a shim's `start` answers: protobuf, JSON, or just an address, depending on how old it is.

use std::path::PathBuf;

use containerd_proto::containerd::runtime::bootstrap::v1::BootstrapResult;
use containerd_rs_core::{Error, Result};
use prost::Message;
use serde::{Deserialize, Serialize};

/// Where a shim serves, and what. Kept in the bundle as `bootstrap.json`, in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Version of the task service: 2 or 3.
    pub(crate) version: i32,
    /// `unix:///path`.
    pub(crate) address: String,
    /// `ttrpc` or `grpc`.
    pub(crate) protocol: String,
}

impl Answer {
    /// Reads whatever of the three it is.
    ///
    /// # Errors
    /// `InvalidArgument` for something else, with its beginning; `Unimplemented` for what we do not speak.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let trimmed = bytes.trim_ascii();
        let bare = std::str::from_utf8(trimmed)
            .ok()
            .filter(|text| text.starts_with("unix:") || text.starts_with('/'));
        let answer = if let Some(address) = bare {
            Answer {
                version: 2,
                address: address.to_owned(),
                protocol: "ttrpc".into(),
            }
        } else if trimmed.starts_with(b"{") {
            serde_json::from_slice(trimmed).map_err(|e| unreadable(trimmed, &e.to_string()))?
        } else {
            let result = BootstrapResult::decode(bytes).map_err(|e| unreadable(bytes, &e.to_string()))?;
            Answer {
                version: result.version,
                address: result.address,
                protocol: result.protocol,
            }
        };
        answer.checked(bytes)
    }

    fn checked(self, bytes: &[u8]) -> Result<Self> {
        if self.address.is_empty() {
            return Err(unreadable(bytes, "there is no address in it"));
        }
        if self.protocol != "ttrpc" {
            return Err(Error::Unimplemented(format!("shim protocol {:?}", self.protocol)));
        }
        if !(2..=3).contains(&self.version) {
            return Err(Error::Unimplemented(format!("shim version {}", self.version)));
        }
        Ok(self)
    }

    /// The socket's path.
    ///
    /// # Errors
    /// `Unimplemented` for another kind of address, abstract sockets among them: whoever is in the network namespace of the
    /// host could speak to those (CVE-2020-15257).
    pub(crate) fn socket(&self) -> Result<PathBuf> {
        let path = self
            .address
            .strip_prefix("unix://")
            .or_else(|| self.address.strip_prefix("unix:"));
        let path = path.unwrap_or(&self.address);
        if path.starts_with('/') {
            Ok(PathBuf::from(path))
        } else {
            Err(Error::Unimplemented(format!("shim address {:?}", self.address)))
        }
    }
}

fn unreadable(bytes: &[u8], why: &str) -> Error {
    let shown: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    Error::InvalidArgument(format!("the shim's answer {shown:?} is not understood: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_kinds_are_understood() {
        let expected = Answer {
            version: 3,
            address: "unix:///run/s/x".into(),
            protocol: "ttrpc".into(),
        };
        let message = BootstrapResult {
            version: 3,
            address: "unix:///run/s/x".into(),
            protocol: "ttrpc".into(),
            ..Default::default()
        };
        assert_eq!(Answer::parse(&message.encode_to_vec()).unwrap(), expected);
        let json = br#" {"version":3,"address":"unix:///run/s/x","protocol":"ttrpc"}
"#;
        assert_eq!(Answer::parse(json).unwrap(), expected);
        let bare = Answer::parse(b"unix:///run/s/x\n").unwrap();
        assert_eq!(bare, Answer { version: 2, ..expected });
        assert_eq!(bare.socket().unwrap(), PathBuf::from("/run/s/x"));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            &b""[..],
            b"hello",
            b"{}",
            br#"{"version":3,"address":"","protocol":"ttrpc"}"#,
            br#"{"version":3,"address":"unix:///x","protocol":"grpc"}"#,
            br#"{"version":9,"address":"unix:///x","protocol":"ttrpc"}"#,
        ] {
            assert!(Answer::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let vsock = Answer {
            version: 3,
            address: "vsock://3:1".into(),
            protocol: "ttrpc".into(),
        };
        assert!(vsock.socket().is_err());
        let hidden = Answer {
            version: 3,
            address: "unix://\0x".into(),
            protocol: "ttrpc".into(),
        };
        assert!(hidden.socket().is_err());
    }
}
