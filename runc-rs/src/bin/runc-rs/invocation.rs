//! One call of the program: its command's flags and arguments, and what the global flags say.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use runc_rs::{CgroupManager, Error, Runtime};

use crate::Failure;
use crate::log::Log;
use crate::values::Values;

/// What a command's code is called with.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) global: Values,
    /// The command's own flags.
    pub(crate) values: Values,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) log: Log,
}

impl Invocation {
    /// The container's id: the first argument.
    pub(crate) fn id(&self) -> Result<&str, Failure> {
        let id = self.arguments.first().map_or(OsStr::new(""), OsString::as_os_str);
        if id.is_empty() {
            return Err(Failure::new("container id cannot be empty"));
        }
        id.to_str()
            .ok_or_else(|| Error::InvalidId(id.to_string_lossy().into_owned()).into())
    }

    /// An argument as text.
    pub(crate) fn argument(&self, index: usize) -> Result<Option<&str>, Failure> {
        let Some(argument) = self.arguments.get(index) else {
            return Ok(None);
        };
        match argument.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(Failure::new(format!("argument {argument:?} is not UTF-8"))),
        }
    }

    /// The runtime over the state directory: as given, or beneath `/run`, or for an ordinary user beneath `XDG_RUNTIME_DIR`.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(self.root())
    }

    fn root(&self) -> PathBuf {
        if let Some(root) = self.global.path("root") {
            return std::path::absolute(&root).unwrap_or(root);
        }
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        match runtime_dir {
            Some(dir) if !rustix::process::geteuid().is_root() || is_mapped_root() => {
                PathBuf::from(dir).join("runc-rs")
            }
            _ => PathBuf::from("/run/runc-rs"),
        }
    }

    /// Who manages control groups.
    pub(crate) fn cgroup_manager(&self) -> Result<CgroupManager, Failure> {
        match self.global.text("cgroup-manager")? {
            Some("cgroupfs") => Ok(CgroupManager::Cgroupfs),
            Some("systemd") => Ok(CgroupManager::Systemd),
            Some("disabled") => Ok(CgroupManager::Disabled),
            Some(other) => Err(Failure::new(format!("unknown cgroup manager {other:?}"))),
            None if self.global.switch("systemd-cgroup") => Ok(CgroupManager::Systemd),
            None => Ok(CgroupManager::Cgroupfs),
        }
    }

    /// `--rootless`: `None` where the runtime decides.
    pub(crate) fn rootless(&self) -> Result<Option<bool>, Failure> {
        match self.global.text("rootless")? {
            None | Some("auto") => Ok(None),
            Some(text) => match crate::parse::switch(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Failure::new(format!(
                    "strconv.ParseBool: parsing {text:?}: invalid syntax"
                ))),
            },
        }
    }
}

/// Whether this root is an ordinary user outside its user namespace, and does not say by `USER` that it wants to be root.
fn is_mapped_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole: Vec<&str> = map.split_whitespace().collect();
    whole != ["0", "0", "4294967295"] && std::env::var_os("USER").is_none_or(|user| user != "root")
}
