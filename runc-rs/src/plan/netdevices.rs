//! `linux.netDevices` as plain data.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNetDevice;

use crate::Error;

/// A device to move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NetDevice {
    /// Its name in the runtime's network namespace.
    pub(crate) host: String,
    /// Its name in the container's.
    pub(crate) name: String,
}

/// The devices, in the order of their names.
pub(crate) fn plan_net_devices(devices: Option<&HashMap<String, LinuxNetDevice>>) -> Result<Vec<NetDevice>, Error> {
    let mut plan = Vec::new();
    for (host, device) in devices.into_iter().flatten() {
        let name = device.name().clone().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| host.clone());
        for name in [host, &name] {
            if !is_valid(name) {
                let message = format!("invalid network device name {name:?}");
                return Err(Error::config("linux.netDevices", message));
            }
        }
        plan.push(NetDevice {
            host: host.clone(),
            name,
        });
    }
    plan.sort();
    if let Some(twice) = plan.iter().enumerate().find_map(|(at, device)| {
        let before = plan.get(..at).unwrap_or_default();
        before
            .iter()
            .any(|other| other.name == device.name && !device.name.contains("%d"))
            .then_some(&device.name)
    }) {
        let message = format!("two network devices would be named {twice:?}");
        return Err(Error::config("linux.netDevices", message));
    }
    Ok(plan)
}

/// The kernel's `dev_valid_name`.
fn is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: serde_json::Value) -> Result<Vec<NetDevice>, String> {
        let devices = serde_json::from_value(json).unwrap();
        plan_net_devices(Some(&devices)).map_err(|error| error.to_string())
    }

    #[test]
    fn names() {
        let named = plan(serde_json::json!({"eth7": {"name": "x"}, "eth0": {}})).unwrap();
        let pairs: Vec<(&str, &str)> = named.iter().map(|d| (d.host.as_str(), d.name.as_str())).collect();
        assert_eq!(pairs, [("eth0", "eth0"), ("eth7", "x")]);
        for bad in ["a/b", "a b", "", ".", "..", "0123456789abcdef", "a:b"] {
            let error = plan(serde_json::json!({ bad: {} })).unwrap_err();
            assert_eq!(error, format!("linux.netDevices: invalid network device name {bad:?}"));
        }
        assert!(plan(serde_json::json!({"a": {"name": "c"}, "b": {"name": "c"}})).is_err());
    }
}
