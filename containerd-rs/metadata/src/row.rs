//! Rows and keys.
//!
//! A row is a version byte and the record in postcard's encoding, which is not self-describing: a change of a record's
//! fields is a new version, and the old one must still be read. The test below holds the bytes of each record.

use containerd_rs_core::{Digest, Error, Result, SnapshotInfo, Timestamp, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tx::broken;

/// The version of all rows so far.
const VERSION: u8 = 1;

/// A snapshot's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRow {
    pub(crate) info: SnapshotInfo,
    /// The number of its directories.
    pub(crate) id: u64,
    /// Measured when it was committed.
    pub(crate) usage: Usage,
}

/// An ingest's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IngestRow {
    /// The blob of another namespace that it stands for, while no byte of its own was written.
    pub(crate) shared: Option<Digest>,
    /// When it may be collected; `None`: a lease has it.
    pub(crate) expires: Option<Timestamp>,
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    postcard::to_extend(record, vec![VERSION]).map_err(|e| broken("encode", e))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, record)) => postcard::from_bytes(record).map_err(|e| broken("decode", e)),
        Some((version, _)) => Err(broken("decode", format_args!("row version {version} is not known"))),
        None => Err(broken("decode", "empty row")),
    }
}

/// A key of several names.
///
/// # Errors
/// `InvalidArgument` for a name with a NUL, which would be taken for two.
pub(crate) fn key(parts: &[&str]) -> Result<Vec<u8>> {
    if let Some(bad) = parts.iter().find(|part| part.contains('\0')) {
        return Err(Error::InvalidArgument(format!("name {bad:?} has a NUL")));
    }
    Ok(parts.join("\0").into_bytes())
}

/// The prefix of all keys that begin with these names.
pub(crate) fn prefix(parts: &[&str]) -> Result<Vec<u8>> {
    let mut bytes = key(parts)?;
    bytes.push(0);
    Ok(bytes)
}

/// A name of a key, as text.
pub(crate) fn name(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| broken("key", e))
}

/// The names of a key.
pub(crate) fn names(bytes: &[u8]) -> Result<Vec<&str>> {
    Ok(name(bytes)?.split('\0').collect())
}

#[cfg(test)]
mod tests {
    use containerd_rs_core::{Any, Container, Descriptor, Image, Labels, Lease, Runtime, Sandbox, SnapshotKind};

    use super::*;

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 1 }
    }

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string().replace(&"0".repeat(64), "ZEROS")
    }

    fn labels() -> Labels {
        Labels::from([("k".into(), "v".into())])
    }

    fn any() -> Any {
        Any {
            type_url: "t".into(),
            value: vec![1, 2],
        }
    }

    fn runtime() -> Runtime {
        Runtime {
            name: "r".into(),
            options: Some(any()),
        }
    }

    #[test]
    fn images_and_leases_keep_their_bytes() {
        let target = Descriptor {
            media_type: "m".into(),
            digest: digest(),
            size: 3,
            annotations: labels(),
        };
        let image = Image {
            name: "i".into(),
            labels: labels(),
            target,
            created_at: at(1),
            updated_at: at(2),
        };
        assert_eq!(
            text(&encode(&image).unwrap()),
            r"\x01\x01i\x01\x01k\x01v\x01mGsha256:ZEROS\x03\x01\x01k\x01v\x02\x02\x04\x02"
        );
        let lease = Lease {
            id: "l".into(),
            created_at: at(1),
            labels: labels(),
        };
        assert_eq!(text(&encode(&lease).unwrap()), r"\x01\x01l\x02\x02\x01\x01k\x01v");
    }

    #[test]
    fn containers_and_sandboxes_keep_their_bytes() {
        let container = Container {
            id: "c".into(),
            labels: labels(),
            image: "i".into(),
            runtime: runtime(),
            spec: Some(any()),
            snapshotter: "s".into(),
            snapshot_key: "k".into(),
            created_at: at(1),
            updated_at: at(2),
            extensions: [("e".to_owned(), any())].into(),
            sandbox: "b".into(),
        };
        assert_eq!(
            text(&encode(&container).unwrap()),
            r"\x01\x01c\x01\x01k\x01v\x01i\x01r\x01\x01t\x02\x01\x02\x01\x01t\x02\x01\x02\x01s\x01k\x02\x02\x04\x02\x01\x01e\x01t\x02\x01\x02\x01b"
        );
        let sandbox = Sandbox {
            id: "b".into(),
            runtime: runtime(),
            sandboxer: "p".into(),
            ..Sandbox::default()
        };
        assert_eq!(
            text(&encode(&sandbox).unwrap()),
            r"\x01\x01b\x00\x01r\x01\x01t\x02\x01\x02\x00\x01p\x00\x00\x00\x00\x00"
        );
    }

    #[test]
    fn snapshots_and_ingests_keep_their_bytes() {
        let info = SnapshotInfo {
            name: "n".into(),
            parent: "p".into(),
            kind: SnapshotKind::Committed,
            labels: labels(),
            created_at: at(1),
            updated_at: at(2),
        };
        let snapshot = SnapshotRow {
            info,
            id: 7,
            usage: Usage { size: 8, inodes: 9 },
        };
        assert_eq!(
            text(&encode(&snapshot).unwrap()),
            r"\x01\x01n\x01p\x02\x01\x01k\x01v\x02\x02\x04\x02\x07\x08\t"
        );
        let ingest = IngestRow {
            shared: Some(digest()),
            expires: Some(at(1)),
        };
        assert_eq!(text(&encode(&ingest).unwrap()), r"\x01\x01Gsha256:ZEROS\x01\x02\x02");
        assert_eq!(decode::<SnapshotRow>(&encode(&snapshot).unwrap()).unwrap(), snapshot);
    }

    #[test]
    fn other_versions_and_garbage_are_told() {
        assert!(decode::<IngestRow>(&[]).is_err());
        assert!(decode::<IngestRow>(&[2, 0, 0]).is_err());
        assert!(decode::<IngestRow>(&[1, 9, 9]).is_err());
    }

    #[test]
    fn names_with_nul_are_refused() {
        assert!(key(&["a\0b"]).is_err());
    }
}
