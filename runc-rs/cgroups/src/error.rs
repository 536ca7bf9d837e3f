//! What can go wrong with control groups, each saying on which file.

use std::io;
use std::path::{Path, PathBuf};

use crate::systemd::bus::BusError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a control group operation. The texts are those of runc where its callers match on them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file or directory of a cgroup failed.
    #[error("{op} {}: {}", path.display(), go_text(source))]
    Io {
        /// The system call in a word: `open`, `read`, `mkdir`, ...
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("failed to write {value:?}: write {}: {}", path.display(), go_text(source))]
    Write {
        /// The control file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A memory limit below what is in use now.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryBusy {
        /// The limit asked for, in bytes.
        limit: i64,
        /// `memory.usage_in_bytes` / `memory.current`.
        usage: u64,
        /// `memory.max_usage_in_bytes` / `memory.peak`.
        peak: u64,
    },
    /// A limit for a controller that the host does not have (or not for us).
    #[error("cannot set {controller} limit: container could not join or create cgroup")]
    NoController {
        /// The controller.
        controller: String,
    },
    /// A `linux.resources.unified` key that names no file of a known controller.
    #[error("unified resource {key:?} can't be set: controller {controller:?} not available")]
    UnifiedController {
        /// The key.
        key: String,
        /// The part before the first dot.
        controller: String,
    },
    /// A `linux.resources.unified` key with a slash or dots in it.
    #[error("unified resource {key:?} must be a file name (no slashes)")]
    UnifiedKey {
        /// The key.
        key: String,
    },
    /// A `linux.resources.unified` key without a dot.
    #[error("unified resource {key:?} must be in the form CONTROLLER.PARAMETER")]
    UnifiedForm {
        /// The key.
        key: String,
    },
    /// `linux.resources.unified` on a host without a unified hierarchy.
    #[error("invalid configuration: cannot use unified on cgroup v1")]
    UnifiedOnV1,
    /// A field of `linux.resources` has a value no version takes.
    #[error("{field}: {reason}")]
    Invalid {
        /// Field of config.json, dotted.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No cgroup filesystem at all, or not the one that is needed.
    #[error("no cgroup mount found in mountinfo")]
    NotMounted,
    /// The devices controller is missing: a container without it would reach every device.
    #[error("mountpoint for devices not found")]
    NoDevices,
    /// A path that should be a cgroup directory lies on another filesystem.
    #[error("{}: not a cgroup directory", .0.display())]
    NotCgroup(PathBuf),
    /// A control file with content that cannot be understood.
    #[error("unable to parse {:?} from {}", content, path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The piece that could not be understood.
        content: String,
    },
    /// Processes or child groups would not go away in time.
    #[error("Failed to remove paths: {}", paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotRemoved {
        /// What is left.
        paths: Vec<PathBuf>,
    },
    /// The freezer would not reach the state asked for.
    #[error("unable to {want} {}: state is {state}", path.display())]
    Freezer {
        /// `freeze` or `thaw`.
        want: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// Its state at the last look.
        state: String,
    },
    /// `linux.cgroupsPath` is not of the form that the systemd driver wants.
    #[error("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead")]
    SystemdPath(String),
    /// No slice can have this name.
    #[error("invalid slice name: {0}")]
    SliceName(String),
    /// An `org.systemd.property.*` annotation that is no property.
    #[error("annotation {name}={value}: {reason}")]
    Annotation {
        /// The annotation's name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The systemd driver on a host without systemd.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    SystemdNotRunning,
    /// systemd cannot be reached, or refuses.
    #[error("{action}: {source}")]
    Systemd {
        /// What was tried, and on which unit.
        action: String,
        /// What it said.
        source: Box<BusError>,
    },
    /// A unit did not come up.
    #[error("error creating systemd unit `{unit}`: got `{result}`")]
    UnitResult {
        /// The unit.
        unit: String,
        /// The result of its job: `failed`, `timeout`, `dependency`, ...
        result: String,
    },
    /// A path that should lie beneath a container's cgroup does not.
    #[error("{0} is not a sub cgroup path")]
    NotSubCgroup(String),
    /// `--cgroup` with a controller that the container's cgroup does not have.
    #[error("unknown controller {0} in SubCgroupPaths")]
    SubCgroupController(String),
}

impl Error {
    /// An [`Error::Io`], for use with `map_err`.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }

    /// The error number behind this error, when a system call is.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::Write { source, .. } => source.raw_os_error(),
            Self::MemoryBusy { .. } => Some(rustix::io::Errno::BUSY.raw_os_error()),
            _ => None,
        }
    }
}

/// The text of an error number as Go's `syscall.Errno` has it: lower case and without the number.
fn go_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" (os error").map_or(text.as_str(), |(head, _)| head);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_write_reads_as_runc_has_it() {
        let error = Error::Write {
            path: "/sys/fs/cgroup/pids/x/pids.max".into(),
            value: "abc".into(),
            source: io::Error::from_raw_os_error(libc::EINVAL),
        };
        assert_eq!(
            error.to_string(),
            r#"failed to write "abc": write /sys/fs/cgroup/pids/x/pids.max: invalid argument"#
        );
    }
}
