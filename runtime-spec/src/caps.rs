//! Capability names, and the arithmetic of `--cap-add` and `--cap-drop`.

use std::collections::HashSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// All capabilities of Linux 5.9 to 6.18, in the order of their numbers: `ALL[n]` has the number `n`.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a Docker container has without being asked.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability: {0:?}")]
pub struct UnknownCapability(pub String);

/// The number of a capability by its name (`CAP_CHOWN`).
pub fn number(name: &str) -> Option<usize> {
    ALL.iter().position(|c| *c == name)
}

/// The name as the tables here have it: upper case, with `CAP_`. `ALL` stays as it is.
///
/// # Errors
/// [`UnknownCapability`].
pub fn normalize(name: &str) -> Result<String, UnknownCapability> {
    let upper = name.trim().to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok("ALL".to_owned());
    }
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    if number(&full).is_some() {
        Ok(full)
    } else {
        Err(UnknownCapability(full))
    }
}

/// The capabilities of a container, from the defaults, what is added and what is dropped, as Docker computes them: dropping `ALL`
/// leaves what is added by name, adding `ALL` leaves what is not dropped by name. `all` is what the engine itself may give.
///
/// # Errors
/// [`UnknownCapability`].
pub fn tweak(all: &[&str], basics: &[&str], add: &[String], drop: &[String]) -> Result<Vec<String>, UnknownCapability> {
    let normal = |names: &[String]| names.iter().map(|n| normalize(n)).collect::<Result<Vec<_>, _>>();
    let (add, drop) = (normal(add)?, normal(drop)?);
    let has = |names: &[String], name: &str| names.iter().any(|n| n == name);
    let base: Vec<&str> = match (has(&add, "ALL"), has(&drop, "ALL")) {
        (true, _) => all.iter().copied().filter(|c| !has(&drop, c)).collect(),
        (false, true) => Vec::new(),
        (false, false) => basics.iter().copied().filter(|c| !has(&drop, c)).collect(),
    };
    let mut seen = HashSet::new();
    let added = add.iter().map(String::as_str).filter(|c| *c != "ALL");
    Ok(base
        .into_iter()
        .chain(added)
        .filter(|c| seen.insert(*c))
        .map(str::to_owned)
        .collect())
}

/// The name of a capability of the OCI types: `CAP_CHOWN`.
pub fn name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

/// A set of the OCI types from names; names that are unknown are left out.
pub fn set<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Capabilities {
    let one = |n: S| n.as_ref().strip_prefix("CAP_")?.parse::<Capability>().ok();
    names.into_iter().filter_map(one).collect()
}

/// The names in a set, sorted by number. (The set itself has no order, and JSON should not change from run to run.)
pub fn sorted(set: &Capabilities) -> Vec<String> {
    let mut names: Vec<String> = set.iter().map(|c| name(*c)).collect();
    names.sort_by_key(|n| number(n));
    names
}

/// The process capabilities of a container that may use `names`: bounding, effective and permitted, inheritable never
/// (CVE-2022-24769), ambient only where asked.
pub fn process<S: AsRef<str>>(names: &[S], ambient: bool) -> LinuxCapabilities {
    let all = set(names);
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(all.clone()))
        .set_effective(Some(all.clone()))
        .set_permitted(Some(all.clone()))
        .set_inheritable(None)
        .set_ambient(ambient.then_some(all));
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn every_name_is_known_to_the_oci_types() {
        assert_eq!(set(ALL).len(), ALL.len());
        assert_eq!(sorted(&set(ALL)), ALL);
    }

    #[test]
    fn adding_and_dropping() {
        let tweak = |add: &[&str], drop: &[&str]| tweak(&ALL, &DOCKER_DEFAULT, &owned(add), &owned(drop));
        assert_eq!(tweak(&[], &[]).unwrap(), DOCKER_DEFAULT);
        assert_eq!(tweak(&["net_admin"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert_eq!(tweak(&["ALL"], &["CHOWN"]).unwrap().len(), 40);
        assert_eq!(tweak(&["CAP_KILL"], &["all", "kill"]).unwrap(), ["CAP_KILL"]);
        assert!(!tweak(&[], &["CAP_MKNOD"]).unwrap().contains(&"CAP_MKNOD".to_owned()));
        let error = tweak(&["nope"], &[]).unwrap_err();
        assert_eq!(error.to_string(), r#"unknown capability: "CAP_NOPE""#);
    }
}
