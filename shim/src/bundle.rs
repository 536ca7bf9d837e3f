//! The files of a bundle that shims leave for managers and for one another, under containerd's names and in its forms.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use containerd_proto::containerd::runc::v1::Options;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where runtimes keep their state unless the options say otherwise (containerd's shim's own default).
pub(crate) const RUNTIME_ROOT: &str = "/run/containerd/runc";

/// Annotations by which containers share a shim, the first that is there decides.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// A bundle directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle(PathBuf);

/// `options.json`: the options under the names that containerd's Go type has in JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredOptions {
    #[serde(skip_serializing_if = "is_default")]
    no_pivot_root: bool,
    #[serde(skip_serializing_if = "is_default")]
    no_new_keyring: bool,
    #[serde(skip_serializing_if = "is_default")]
    shim_cgroup: String,
    #[serde(skip_serializing_if = "is_default")]
    io_uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    io_gid: u32,
    #[serde(skip_serializing_if = "is_default")]
    binary_name: String,
    #[serde(skip_serializing_if = "is_default")]
    root: String,
    #[serde(skip_serializing_if = "is_default")]
    systemd_cgroup: bool,
    #[serde(skip_serializing_if = "is_default")]
    criu_image_path: String,
    #[serde(skip_serializing_if = "is_default")]
    criu_work_path: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Annotations {
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PidNamespace {
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Bundle {
    /// The bundle at a path.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the manager wants the root filesystem mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// The group that the configuration's annotations put the container into; `id` when it has none.
    ///
    /// # Errors
    /// A `config.json` that cannot be read or is no JSON object.
    pub(crate) fn group(&self, id: &str) -> Result<String> {
        let config: Annotations = self.config()?;
        let named = GROUP_ANNOTATIONS.iter().find_map(|key| config.annotations.get(*key));
        Ok(named.cloned().unwrap_or_else(|| id.to_owned()))
    }

    /// Whether processes may outlive the container's first one: it has no pid namespace of its own.
    ///
    /// # Errors
    /// As [`Self::group`].
    pub(crate) fn shares_pid_namespace(&self) -> Result<bool> {
        let config: PidNamespace = self.config()?;
        let namespaces = config.linux.unwrap_or_default().namespaces;
        Ok(!namespaces
            .iter()
            .any(|namespace| namespace.kind == "pid" && namespace.path.is_empty()))
    }

    fn config<T: for<'a> Deserialize<'a>>(&self) -> Result<T> {
        let path = self.0.join("config.json");
        let text = fs::read(&path).map_err(Error::file("open", &path))?;
        serde_json::from_slice(&text).map_err(|e| Error::file("parse", &path)(std::io::Error::from(e)))
    }

    /// Writes `address`, atomically: managers before 1.7 find a running shim by it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write_address(&self, address: &str) -> Result<()> {
        let (temporary, path) = (self.0.join(".address"), self.0.join("address"));
        write(&temporary, address.as_bytes())?;
        fs::rename(&temporary, &path).map_err(Error::file("rename", &path))
    }

    /// The socket that `address` names, if it names one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn socket(&self) -> Result<Option<PathBuf>> {
        let text = optional(&self.0.join("address"))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text
            .strip_prefix("unix://")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()))
    }

    /// Writes `options.json` and `runtime`, from which `delete` learns which runtime to call.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write_options(&self, options: &Options) -> Result<()> {
        let stored = StoredOptions {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup.clone(),
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name.clone(),
            root: options.root.clone(),
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path.clone(),
            criu_work_path: options.criu_work_path.clone(),
        };
        let path = self.0.join("options.json");
        let text = serde_json::to_vec(&stored).map_err(|e| Error::file("encode", &path)(std::io::Error::from(e)))?;
        write(&path, &text)?;
        write(&self.0.join("runtime"), options.binary_name.as_bytes())
    }

    /// Reads `options.json` and `runtime`; what is missing is default.
    ///
    /// # Errors
    /// A file that is there but cannot be read or understood.
    pub(crate) fn read_options(&self) -> Result<Options> {
        let path = self.0.join("options.json");
        let stored: StoredOptions = match optional(&path)? {
            Some(text) if !text.is_empty() => {
                serde_json::from_slice(&text).map_err(|e| Error::file("parse", &path)(std::io::Error::from(e)))?
            }
            _ => StoredOptions::default(),
        };
        let binary = optional(&self.0.join("runtime"))?.unwrap_or_default();
        let binary = String::from_utf8_lossy(&binary).trim().to_owned();
        Ok(Options {
            no_pivot_root: stored.no_pivot_root,
            no_new_keyring: stored.no_new_keyring,
            shim_cgroup: stored.shim_cgroup,
            io_uid: stored.io_uid,
            io_gid: stored.io_gid,
            binary_name: if binary.is_empty() { stored.binary_name } else { binary },
            root: stored.root,
            systemd_cgroup: stored.systemd_cgroup,
            criu_image_path: stored.criu_image_path,
            criu_work_path: stored.criu_work_path,
            ..Options::default()
        })
    }

    /// Writes `init.pid`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write_pid(&self, pid: i32) -> Result<()> {
        write(&self.0.join("init.pid"), pid.to_string().as_bytes())
    }

    /// Reads `init.pid`; 0 when the container was never created.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn read_pid(&self) -> Result<i32> {
        let text = optional(&self.0.join("init.pid"))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).trim().parse().unwrap_or(0))
    }
}

/// The directory in which a runtime keeps the containers of a namespace.
pub(crate) fn runtime_root(options: &Options, namespace: &str) -> PathBuf {
    let root = if options.root.is_empty() {
        RUNTIME_ROOT
    } else {
        &options.root
    };
    Path::new(root).join(namespace)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(Error::file("write", path))
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: &str) -> (tempfile::TempDir, Bundle) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), config).unwrap();
        let bundle = Bundle::new(directory.path());
        (directory, bundle)
    }

    #[test]
    fn options_survive_the_bundle() {
        let (_directory, bundle) = bundle("{}");
        assert_eq!(bundle.read_options().unwrap(), Options::default());
        let options = Options {
            binary_name: "crun".into(),
            root: "/r".into(),
            systemd_cgroup: true,
            io_uid: 7,
            ..Options::default()
        };
        bundle.write_options(&options).unwrap();
        assert_eq!(bundle.read_options().unwrap(), options);
        let text = fs::read_to_string(bundle.path().join("options.json")).unwrap();
        assert_eq!(
            text,
            r#"{"io_uid":7,"binary_name":"crun","root":"/r","systemd_cgroup":true}"#
        );
        assert_eq!(bundle.read_pid().unwrap(), 0);
        bundle.write_pid(42).unwrap();
        assert_eq!(bundle.read_pid().unwrap(), 42);
    }

    #[test]
    fn groups_by_annotation() {
        let group = |config: &str| bundle(config).1.group("c").map_err(|e| e.to_string());
        let (_d, plain) = bundle("{}");
        assert_eq!(plain.group("c").unwrap(), "c");
        let (_d, pod) = bundle(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#);
        assert_eq!(pod.group("c").unwrap(), "pod");
        let both = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        let (_d, both) = bundle(both);
        assert_eq!(both.group("c").unwrap(), "g");
        assert!(group("not json").is_err());
    }

    #[test]
    fn knows_a_shared_pid_namespace() {
        let shares = |namespaces: &str| {
            let (_d, bundle) = bundle(&format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#));
            bundle.shares_pid_namespace().unwrap()
        };
        assert!(!shares(r#"{"type":"pid"}"#));
        assert!(shares(r#"{"type":"pid","path":"/proc/1/ns/pid"}"#));
        assert!(shares(r#"{"type":"mount"}"#));
        let (_d, bundle) = bundle("{}");
        assert!(bundle.shares_pid_namespace().unwrap());
    }
}
