//! Facts of the host, looked up once at start; and its devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use runtime_spec::caps;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What the host can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// Control groups are version 2.
    pub(crate) cgroup2: bool,
    /// Swap can be limited.
    pub(crate) swap_limit: bool,
    /// The kernel has seccomp filters.
    pub(crate) seccomp: bool,
    /// What the daemon itself holds, by name.
    pub(crate) capabilities: Vec<String>,
    /// The daemon's hard limit of open files.
    pub(crate) nofile_max: u64,
    /// CPUs.
    pub(crate) cpus: usize,
    /// Memory, in bytes.
    pub(crate) memory: u64,
}

impl Host {
    /// Looks.
    pub(crate) fn look() -> Self {
        let cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bounding = field(&status, "CapBnd:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or(u64::MAX);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = field(&meminfo, "MemTotal:")
            .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0);
        let nofile = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .maximum
            .unwrap_or(u64::MAX);
        Self {
            cgroup2,
            swap_limit: cgroup2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
            seccomp: field(&status, "Seccomp:").is_some(),
            capabilities: caps::ALL
                .iter()
                .enumerate()
                .filter(|(n, _)| bounding >> n & 1 == 1)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            nofile_max: nofile,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory * 1024,
        }
    }
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Path in the container.
    pub(crate) path: PathBuf,
    /// `c` or `b`.
    pub(crate) kind: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Device {
    /// As `linux.devices` has it.
    pub(super) fn to_oci(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }
}

/// The device at a path of the host.
///
/// # Errors
/// 400 when there is none, in Docker's words.
pub(crate) fn device(source: &Path, destination: &Path) -> Result<Device> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "error gathering device information while adding custom device {:?}: {why}",
            source.display().to_string()
        ))
    };
    let metadata = fs::metadata(source).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => wrong(&"no such file or directory"),
        _ => wrong(&e),
    })?;
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return Err(wrong(&"not a device node"));
    };
    Ok(Device {
        path: destination.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// Every device of a directory and what is beneath it, but for what each container has of its own.
pub(crate) fn all_devices(directory: &Path) -> Vec<Device> {
    const OWN: [&str; 9] = [
        "pts",
        "shm",
        "fd",
        "mqueue",
        ".lxc",
        ".lxd-mounts",
        ".udev",
        "console",
        "ptmx",
    ];
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut devices = Vec::new();
    for entry in entries.flatten() {
        if OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            devices.extend(all_devices(&entry.path()));
        } else if (kind.is_char_device() || kind.is_block_device())
            && let Ok(device) = device(&entry.path(), &entry.path())
        {
            devices.push(device);
        }
    }
    devices.sort_by(|a, b| a.path.cmp(&b.path));
    devices
}
