//! Device nodes and links in `/dev`.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::Error;

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    /// Absolute path in the container.
    pub(crate) path: PathBuf,
    pub(crate) kind: NodeKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Character,
    Block,
    Fifo,
}

/// The devices every container has (runtime-spec, "Default Devices"): path, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links every container has: name in `/dev` and target.
pub(crate) const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The default devices and those of `linux.devices`; a configured one replaces the default of its path.
pub(crate) fn plan_devices(configured: &[LinuxDevice]) -> Result<Vec<DeviceNode>, Error> {
    let mut nodes: Vec<DeviceNode> = DEFAULT
        .iter()
        .map(|(path, major, minor)| DeviceNode {
            path: PathBuf::from(path),
            kind: NodeKind::Character,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for (index, device) in configured.iter().enumerate() {
        let node = plan_device(device, index)?;
        match nodes.iter_mut().find(|old| old.path == node.path) {
            Some(old) => *old = node,
            None => nodes.push(node),
        }
    }
    Ok(nodes)
}

fn plan_device(device: &LinuxDevice, index: usize) -> Result<DeviceNode, Error> {
    let field = |name: &str| format!("linux.devices[{index}].{name}");
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| Error::config(field(name), format!("{value} is no device number")))
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => return Err(Error::config(field("type"), "\"a\" is no type of a node")),
    };
    if !device.path().is_absolute() {
        return Err(Error::config(field("path"), "must be absolute"));
    }
    Ok(DeviceNode {
        path: super::mounts::clean(device.path()),
        kind,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_device_replaces_the_default_of_its_path() {
        let device: LinuxDevice = serde_json::from_value(serde_json::json!(
            {"path": "/dev/./null", "type": "c", "major": 9, "minor": 9, "fileMode": 420}
        ))
        .unwrap();
        let nodes = plan_devices(&[device]).unwrap();
        assert_eq!(nodes.len(), DEFAULT.len());
        assert_eq!((nodes[0].major, nodes[0].mode), (9, 0o644));
    }
}
