//! One call of the program: its command's flags and arguments, and what the global flags say.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use runc_rs::{CgroupManager, Error, Runtime, rootless};

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
        match self.global.path("root") {
            Some(root) => std::path::absolute(&root).unwrap_or(root),
            None => runtime_directory().unwrap_or_else(|| PathBuf::from("/run/runc-rs")),
        }
    }

    /// Before every command: the state directory beneath `XDG_RUNTIME_DIR`, when it is the one, is there and marked to stay.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        match runtime_directory().filter(|_| self.global.path("root").is_none()) {
            Some(root) => rootless::make_root(&root).map_err(|error| {
                let words = "the path in $XDG_RUNTIME_DIR must be writable by the user";
                Failure::new(format!("{words}: {}: {error}", root.display()))
            }),
            None => Ok(()),
        }
    }

    /// Says, in runc's words, that a command which needs a control group may do without one in vain.
    pub(crate) fn warn_of_cgroups(&self, what: &str) -> Result<(), Failure> {
        if rootless::applies(self.rootless()?) {
            let words = "may fail if you don't have the full access to cgroups";
            self.log.warn(&format!("{what} {words}"));
        }
        Ok(())
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
            None | Some("") => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("auto") => Ok(None),
            Some(text) => match crate::parse::switch(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Failure::new(format!(
                    "strconv.ParseBool: parsing {text:?}: invalid syntax"
                ))),
            },
        }
    }
}

/// The state directory of somebody who is not the machine's root.
fn runtime_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    rootless::honours_runtime_dir().then(|| PathBuf::from(directory).join("runc-rs"))
}
