//! What a restarted daemon must know: one small file per network and per endpoint, and one about the host.
//!
//! ```text
//! STATE/networks/ID.json    STATE/endpoints/ID.json    STATE/host.json      each an object with "version": 1
//! ```
//!
//! Files are written beside their place and renamed into it, so a reader finds the old one or the new one. A network is synced
//! to disk, it must outlive a power cut; an endpoint is not: after a power cut its container is gone, and the file, empty or
//! not, only says that something is to be cleaned up.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::types::{Endpoint, IpamPool};

/// The format written; newer ones are refused, so that an older daemon does not spoil what it does not understand.
const VERSION: u32 = 1;

/// A network as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) created: SystemTime,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    /// Subnet and gateway filled in; empty for `host` and `none`.
    pub(crate) ipam: Vec<IpamPool>,
    /// Whether the user chose the subnet: only then may containers choose addresses.
    pub(crate) subnet_chosen: bool,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Name of the bridge; empty without one.
    pub(crate) interface: String,
    /// Whether the bridge is ours to delete.
    pub(crate) owned: bool,
}

/// What was changed on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// The boot in which we switched `ip_forward` on, if we did.
    pub(crate) forwarding_switched_in: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// The directory of state files.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

impl Store {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        for dir in [root.to_owned(), root.join("networks"), root.join("endpoints")] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|e| failed("create directory", &dir, e))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn networks(&self) -> Result<Vec<NetworkRecord>> {
        self.load_all("networks")
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.load_all("endpoints")
    }

    pub(crate) fn host(&self) -> Result<HostRecord> {
        Ok(load(&self.root.join("host.json"))?.unwrap_or_default())
    }

    pub(crate) fn put_network(&self, network: &NetworkRecord) -> Result<()> {
        save(&self.network_path(&network.id), network, true)
    }

    pub(crate) fn put_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        save(&self.endpoint_path(&endpoint.endpoint_id), endpoint, false)
    }

    pub(crate) fn put_host(&self, host: &HostRecord) -> Result<()> {
        save(&self.root.join("host.json"), host, true)
    }

    pub(crate) fn remove_network(&self, id: &str) -> Result<()> {
        remove(&self.network_path(id))
    }

    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<()> {
        remove(&self.endpoint_path(id))
    }

    /// Takes the whole directory away.
    pub(crate) fn destroy(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.root, e)),
            _ => Ok(()),
        }
    }

    fn network_path(&self, id: &str) -> PathBuf {
        self.root.join("networks").join(format!("{id}.json"))
    }

    fn endpoint_path(&self, id: &str) -> PathBuf {
        self.root.join("endpoints").join(format!("{id}.json"))
    }

    fn load_all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let dir = self.root.join(kind);
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| failed("read directory", &dir, e))? {
            let path = entry.map_err(|e| failed("read directory", &dir, e))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(load(&path)?);
            } else {
                // Written by a daemon that died before it could rename it.
                remove(&path)?;
            }
        }
        Ok(all)
    }
}

/// Reads a file; one that a crash left torn is taken away with a warning and counts as absent.
fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Peek {
        version: u32,
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("read", path, e)),
    };
    let Ok(Peek { version }) = serde_json::from_slice(&bytes) else {
        tracing::warn!(path = %path.display(), "state file is torn; dropped");
        remove(path)?;
        return Ok(None);
    };
    if version > VERSION {
        let reason = format!("version {version} is newer than this program, which knows {VERSION}");
        return Err(Error::State {
            path: path.to_owned(),
            reason,
        });
    }
    let read: std::result::Result<Versioned<T>, _> = serde_json::from_slice(&bytes);
    let read = read.map_err(|e| Error::State {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    Ok(Some(read.content))
}

fn save<T: Serialize>(path: &Path, content: &T, sync: bool) -> Result<()> {
    let bytes = serde_json::to_vec(&Versioned {
        version: VERSION,
        content,
    })
    .map_err(|e| Error::State {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if let Some(dir) = path.parent().filter(|_| sync) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        failed("write", path, e)
    })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> NetworkRecord {
        NetworkRecord {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            created: SystemTime::now(),
            internal: false,
            attachable: false,
            ipam: vec![IpamPool {
                subnet: Some("10.0.0.0/24".parse().unwrap()),
                ..IpamPool::default()
            }],
            subnet_chosen: true,
            options: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            labels: BTreeMap::new(),
            interface: "br-x".to_owned(),
            owned: true,
        }
    }

    #[test]
    fn what_is_put_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("net");
        let store = Store::open(&root).unwrap();
        store.put_network(&record("a")).unwrap();
        fs::write(root.join("networks/half.tmp"), "{").unwrap();
        let store = Store::open(&root).unwrap();
        assert_eq!(
            store.networks().unwrap(),
            [record("a")].map(|r| NetworkRecord {
                created: store.networks().unwrap()[0].created,
                ..r
            })
        );
        assert!(!root.join("networks/half.tmp").exists());
        store.remove_network("id-of-a").unwrap();
        store.remove_network("id-of-a").unwrap();
        assert!(store.networks().unwrap().is_empty());
        store.destroy().unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn torn_files_are_dropped_and_newer_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(dir.path().join("endpoints/torn.json"), "").unwrap();
        assert!(store.endpoints().unwrap().is_empty());
        assert!(!dir.path().join("endpoints/torn.json").exists());
        fs::write(
            dir.path().join("networks/new.json"),
            r#"{"version":2,"shape":"unknown"}"#,
        )
        .unwrap();
        let error = store.networks().unwrap_err().to_string();
        assert!(error.contains("networks/new.json: version 2 is newer"), "{error}");
    }
}
