//! Kernel parameters: which of them belong to a namespace of the container.

use std::collections::HashMap;

use super::namespaces::Namespaces;
use crate::Error;

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

/// Checks `linux.sysctl` and returns paths beneath `/proc/sys` with their values.
///
/// A parameter that is not of a namespace the container has for itself would change the host, and is refused in runc's words.
pub(crate) fn plan_sysctl(
    sysctl: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<Vec<(String, String)>, Error> {
    let mut plan = Vec::new();
    for (key, value) in sysctl.into_iter().flatten() {
        // The separator is whichever of `.` and `/` comes first; the other one then stands for itself, swapped.
        let dotted = key
            .find(['.', '/'])
            .is_none_or(|at| key.as_bytes().get(at) == Some(&b'.'));
        let swap = |c: char| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        let path: String = if dotted {
            key.chars().map(swap).collect()
        } else {
            key.clone()
        };
        let name: String = path.chars().map(swap).collect();
        check(&name, namespaces)?;
        if path
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err(Error::config(
                "linux.sysctl",
                format!("{key:?} is no name of a kernel parameter"),
            ));
        }
        plan.push((path, value.clone()));
    }
    plan.sort();
    Ok(plan)
}

fn check(name: &str, namespaces: &Namespaces) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::config("linux.sysctl", reason));
    let needed = if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        libc::CLONE_NEWIPC
    } else if name.starts_with("net.") {
        libc::CLONE_NEWNET
    } else if name == "kernel.domainname" {
        libc::CLONE_NEWUTS
    } else if name == "kernel.hostname" {
        return refuse(format!(
            "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
        ));
    } else if name.starts_with("user.") {
        libc::CLONE_NEWUSER
    } else {
        return refuse(format!("sysctl {name:?} is not in a separate kernel namespace"));
    };
    if namespaces.has(needed) {
        Ok(())
    } else {
        refuse(format!("sysctl {name:?} is not allowed in the hosts namespaces"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(key: &str, flags: i32) -> Result<Vec<(String, String)>, Error> {
        let map = HashMap::from([(key.to_owned(), "1".to_owned())]);
        plan_sysctl(
            Some(&map),
            &Namespaces {
                new: flags,
                join: Vec::new(),
            },
        )
    }

    #[test]
    fn both_separators_mean_the_same() {
        let expected = [("net/ipv4/conf/eth0.1/rp_filter".to_owned(), "1".to_owned())];
        assert_eq!(
            plan("net/ipv4/conf/eth0.1/rp_filter", libc::CLONE_NEWNET).unwrap(),
            expected
        );
        assert_eq!(
            plan("net.ipv4.conf.eth0/1.rp_filter", libc::CLONE_NEWNET).unwrap(),
            expected
        );
    }

    #[test]
    fn what_belongs_to_the_host_is_refused() {
        assert!(plan("kernel.core_pattern", !0).is_err());
        assert!(plan("net.ipv4.ip_forward", libc::CLONE_NEWNS).is_err());
        assert!(plan("net.../../kernel/core_pattern", libc::CLONE_NEWNET).is_err());
    }
}
