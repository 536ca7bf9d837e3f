//! Kernel parameters that a container may set: those that its own namespaces keep apart from the host's.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNamespaceType;

use super::{Namespaces, Result, refuse};

/// Parameters of the ipc namespace that are known by their full names.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// A parameter's name with dots: `net/ipv4/conf/eno2.100/x` means `net.ipv4.conf.eno2/100.x` to sysctl(8), whose first separator
/// decides which of the two is the separator.
pub(super) fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// The path of a parameter below `/proc/sys`, from its name in a config that was validated.
pub fn sysctl_path(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    dotted(name).chars().map(swap).collect()
}

pub(super) fn validate(sysctl: &HashMap<String, String>, namespaces: &Namespaces) -> Result {
    let mut names: Vec<&String> = sysctl.keys().collect();
    names.sort();
    names.into_iter().try_for_each(|name| one(name, namespaces))
}

fn one(name: &str, namespaces: &Namespaces) -> Result {
    use LinuxNamespaceType::{Ipc, Network, Uts};
    let field = format!("linux.sysctl.{name}");
    let key = dotted(name);
    // In the file's path, a slash within a component came from a dot: `..` can be made of neither.
    if key.split(['.', '/']).any(str::is_empty) || key.contains('\0') {
        return refuse(field, format!("sysctl {key:?} is not a parameter's name"));
    }
    if IPC.contains(&key.as_str()) || key.starts_with("fs.mqueue.") {
        return match namespaces.has(Ipc) {
            true => Ok(()),
            false => refuse(
                field,
                format!("sysctl {key:?} is not allowed in the hosts ipc namespace"),
            ),
        };
    }
    if key.starts_with("net.") {
        return match namespaces.has(Network) {
            true => Ok(()),
            false => refuse(field, format!("sysctl {key:?} not allowed in host network namespace")),
        };
    }
    match key.as_str() {
        "kernel.domainname" if namespaces.has(Uts) => Ok(()),
        "kernel.hostname" if namespaces.has(Uts) => refuse(
            field,
            format!("sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"),
        ),
        _ => refuse(field, format!("sysctl {key:?} is not in a separate kernel namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_decides() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eno2.100/forwarding"),
            "net/ipv4/conf/eno2.100/forwarding"
        );
        assert_eq!(
            sysctl_path("net.ipv4.conf.eno2/100.forwarding"),
            "net/ipv4/conf/eno2.100/forwarding"
        );
    }
}
