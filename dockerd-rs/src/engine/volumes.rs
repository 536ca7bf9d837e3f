//! Named and anonymous volumes of the `local` driver: `<data-root>/volumes/<name>/_data`, described by `opts.json` beside it.
//!
//! Who uses a volume is not written down: the containers' records say it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::names;
use crate::error::{Error, Result};

const FILE: &str = "opts.json";
/// Label of volumes that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// RFC 3339.
    pub(crate) created: String,
}

/// The volumes of the daemon.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    all: Mutex<HashMap<String, Volume>>,
}

impl Volumes {
    /// Reads what there is.
    pub(crate) fn open(data_root: &Path) -> Result<Self> {
        let root = data_root.join("volumes");
        let failed = |e: io::Error| Error::failed(format!("volumes in {}", root.display()), e);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(&root)
            .map_err(failed)?;
        let mut all = HashMap::new();
        for entry in fs::read_dir(&root).map_err(failed)? {
            let directory = entry.map_err(failed)?.path();
            match fs::read(directory.join(FILE))
                .map_err(|e| e.to_string())
                .and_then(|text| serde_json::from_slice::<Volume>(&text).map_err(|e| e.to_string()))
            {
                Ok(volume) => drop(all.insert(volume.name.clone(), volume)),
                // Data may be in it: it is left alone.
                Err(reason) => tracing::warn!(volume = %directory.display(), reason, "volume cannot be read"),
            }
        }
        Ok(Self {
            root,
            all: Mutex::new(all),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Volume>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that is mounted.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// The volume of this name, made when missing; the second value says whether it was.
    pub(crate) fn create(
        &self,
        name: Option<&str>,
        driver: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<(Volume, bool)> {
        if !matches!(driver, "" | "local" | "default") {
            return Err(Error::not_found(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        if let Some(option) = options
            .keys()
            .find(|key| !matches!(key.as_str(), "type" | "o" | "device" | "size"))
        {
            return Err(Error::invalid(format!("invalid option: {option:?}")));
        }
        if !options.is_empty() {
            return Err(Error::not_implemented(
                "mount options of the local volume driver are not supported",
            ));
        }
        let mut labels = labels;
        let name = match name.filter(|name| !name.is_empty()) {
            Some(name) => check(name)?.to_owned(),
            None => {
                labels.insert(ANONYMOUS.to_owned(), String::new());
                names::new_id()
            }
        };
        let mut all = self.lock();
        if let Some(volume) = all.get(&name) {
            return Ok((volume.clone(), false));
        }
        let volume = Volume {
            name: name.clone(),
            labels,
            options,
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        self.write(&volume)
            .map_err(|e| Error::failed(format!("create volume {name}"), e))?;
        all.insert(name, volume.clone());
        Ok((volume, true))
    }

    fn write(&self, volume: &Volume) -> io::Result<()> {
        let directory = self.root.join(&volume.name);
        fs::DirBuilder::new().mode(0o701).recursive(true).create(&directory)?;
        fs::DirBuilder::new()
            .mode(0o755)
            .recursive(true)
            .create(directory.join("_data"))?;
        let temporary = directory.join(".tmp-opts.json");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec(volume)?)?;
        fs::rename(temporary, directory.join(FILE))
    }

    /// The volume of this name.
    pub(crate) fn get(&self, name: &str) -> Result<Volume> {
        self.lock()
            .get(name)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    /// All volumes, in order of their names.
    pub(crate) fn list(&self) -> Vec<Volume> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Takes a volume and its data away. The caller knows that nobody uses it.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let mut all = self.lock();
        if !all.contains_key(name) {
            return Err(Error::not_found(format!("get {name}: no such volume")));
        }
        let directory = self.root.join(name);
        // The description goes last: a removal that was cut off is seen as a volume and can be done again.
        let removed = fs::remove_dir_all(directory.join("_data"))
            .or_else(gone_is_fine)
            .and_then(|()| fs::remove_dir_all(&directory).or_else(gone_is_fine));
        removed.map_err(|e| Error::failed(format!("remove volume {name}"), e))?;
        all.remove(name);
        Ok(())
    }
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// Checks a volume's name.
pub(crate) fn check(name: &str) -> Result<&str> {
    let good = name.len() > 1
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(name);
    }
    Err(Error::invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
         If you intended to pass a host directory, use absolute path"
    )))
}

/// Bytes in a volume.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, metadata)| if metadata.is_dir() { size(&path) } else { metadata.len() })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_come_back_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(directory.path()).unwrap();
        let create = |volumes: &Volumes, name| volumes.create(name, "", BTreeMap::new(), BTreeMap::new());
        assert!(create(&volumes, Some("data")).unwrap().1);
        assert!(!create(&volumes, Some("data")).unwrap().1);
        let anonymous = create(&volumes, None).unwrap().0;
        assert!(create(&volumes, Some("../x")).is_err());
        let again = Volumes::open(directory.path()).unwrap();
        assert_eq!(again.get(&anonymous.name).unwrap(), anonymous);
        again.remove("data").unwrap();
        assert_eq!(again.remove("data").unwrap_err().message, "get data: no such volume");
        assert_eq!(again.list().len(), 1);
    }
}
