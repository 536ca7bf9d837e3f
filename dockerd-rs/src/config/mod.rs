//! What the daemon is told: flags of dockerd, `daemon.json`, and the settings that come of the two.
//!
//! The file is turned into flags and parsed by the same parser, so that a setting has one meaning wherever it was written; a setting
//! written in both places is refused, as Docker does.

mod file;
mod flags;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};

pub use flags::Flags;

use crate::error::{Error, Result};

/// Name of the runtime that uses our shim.
pub const RUNTIME_OURS: &str = "runc-rs";
/// Name of the runtime that uses containerd's shim.
pub const RUNTIME_RUNC: &str = "runc";

/// An OCI runtime that containers may ask for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// containerd's name of the shim: `io.containerd.runc.v2`.
    pub shim: String,
    /// The OCI runtime program the shim is to run; none for its own default.
    pub binary: Option<String>,
}

/// The daemon's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The flags as given, file and command line together.
    pub flags: Flags,
    /// Persistent state.
    pub data_root: PathBuf,
    /// State that a reboot may clear.
    pub exec_root: PathBuf,
    /// Sockets to serve on.
    pub hosts: Vec<String>,
    /// Runtimes by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// The containerd namespace.
    pub namespace: String,
}

impl Config {
    /// Reads command line and file. `args` includes the program's name.
    ///
    /// # Errors
    /// [`Failure::Usage`] holds what clap says, help included; [`Failure::Config`] everything else.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let args: Vec<OsString> = args.into_iter().collect();
        let matches = Flags::command().try_get_matches_from(&args)?;
        let given = Flags::from_arg_matches(&matches)?;
        let flags = match file::read(&given)? {
            None => given,
            Some(settings) => {
                let more = file::to_args(&settings, &matches)?;
                Flags::from_arg_matches(&Flags::command().try_get_matches_from(args.into_iter().chain(more))?)?
            }
        };
        Ok(Self::from_flags(flags)?)
    }

    fn from_flags(flags: Flags) -> Result<Self> {
        let mut runtimes = BTreeMap::from([
            (
                RUNTIME_OURS.to_owned(),
                Runtime {
                    shim: "io.containerd.runc-rs.v2".to_owned(),
                    binary: None,
                },
            ),
            (
                RUNTIME_RUNC.to_owned(),
                Runtime {
                    shim: "io.containerd.runc.v2".to_owned(),
                    binary: None,
                },
            ),
            (
                "io.containerd.runc.v2".to_owned(),
                Runtime {
                    shim: "io.containerd.runc.v2".to_owned(),
                    binary: None,
                },
            ),
        ]);
        for added in &flags.add_runtime {
            let (name, path) = added
                .split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .ok_or_else(|| Error::invalid(format!("invalid runtime {added:?}: want NAME=PATH")))?;
            if name == RUNTIME_RUNC {
                return Err(Error::invalid(format!("runtime name '{name}' is reserved")));
            }
            runtimes.insert(name.to_owned(), flags::runtime(path));
        }
        for option in &flags.exec_opt {
            if option != "native.cgroupdriver=cgroupfs" {
                return Err(Error::invalid(format!(
                    "exec option {option:?} is not supported: only native.cgroupdriver=cgroupfs is"
                )));
            }
        }
        let default_runtime = match &flags.default_runtime {
            Some(name) => name.clone(),
            None if flags.containerd.is_some() => RUNTIME_RUNC.to_owned(),
            None => RUNTIME_OURS.to_owned(),
        };
        if !runtimes.contains_key(&default_runtime) {
            return Err(Error::invalid(format!(
                "specified default runtime '{default_runtime}' does not exist"
            )));
        }
        let hosts = if flags.host.is_empty() {
            vec!["unix:///var/run/docker.sock".to_owned()]
        } else {
            flags.host.clone()
        };
        Ok(Self {
            data_root: flags.data_root.clone(),
            exec_root: flags.exec_root.clone(),
            hosts,
            runtimes,
            default_runtime,
            namespace: flags.containerd_namespace.clone(),
            flags,
        })
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong, or asks for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file is wrong, or what both say together.
    #[error(transparent)]
    Config(#[from] Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str]) -> Result<Config, Failure> {
        Config::load(
            std::iter::once("dockerd-rs")
                .chain(args.iter().copied())
                .map(OsString::from),
        )
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.json");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (directory, path)
    }

    #[test]
    fn file_and_flags_come_together() {
        let (_keep, path) = file(
            r#"{"data-root":"/d","registry-mirrors":["http://a"],"debug":true,
                "runtimes":{"crun":{"path":"/usr/bin/crun"}},"default-ulimits":{"nofile":{"Name":"nofile","Soft":10,"Hard":20}}}"#,
        );
        let config = load(&["--config-file", &path, "--exec-root", "/e", "--iptables=false"]).unwrap();
        assert_eq!(config.data_root, PathBuf::from("/d"));
        assert_eq!(config.exec_root, PathBuf::from("/e"));
        assert_eq!(config.flags.registry_mirror, ["http://a"]);
        assert!(config.flags.debug && !config.flags.iptables);
        assert_eq!(config.runtimes["crun"].binary.as_deref(), Some("/usr/bin/crun"));
        assert_eq!(config.flags.default_ulimit, ["nofile=10:20"]);
    }

    #[test]
    fn a_setting_in_both_places_is_refused() {
        let (_keep, path) = file(r#"{"debug":true,"data-root":"/a"}"#);
        let error = load(&["--config-file", &path, "--data-root", "/b"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the following directives are specified both as a flag and in the configuration file: data-root: (from flag: /b, from file: /a)"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let (_keep, path) = file(r#"{"nonsense":1}"#);
        let error = load(&["--config-file", &path]).unwrap_err().to_string();
        assert!(
            error.contains("the following directives don't match any configuration option: nonsense"),
            "{error}"
        );
    }

    #[test]
    fn a_file_asked_for_by_name_must_be_there() {
        assert!(load(&["--config-file", "/nonexistent/daemon.json"]).is_err());
    }
}
