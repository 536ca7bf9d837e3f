//! Which namespaces a container gets, and from where.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind};

use crate::Error;

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` flags of those made anew.
    pub(crate) new: i32,
    /// Those joined: flag and path, in the order in which they have to be joined (user first).
    pub(crate) join: Vec<(i32, PathBuf)>,
}

/// The `CLONE_NEW*` flag of a namespace type.
pub(crate) fn flag(kind: Kind) -> i32 {
    match kind {
        Kind::Mount => libc::CLONE_NEWNS,
        Kind::Cgroup => libc::CLONE_NEWCGROUP,
        Kind::Uts => libc::CLONE_NEWUTS,
        Kind::Ipc => libc::CLONE_NEWIPC,
        Kind::User => libc::CLONE_NEWUSER,
        Kind::Pid => libc::CLONE_NEWPID,
        Kind::Network => libc::CLONE_NEWNET,
        Kind::Time => libc::CLONE_NEWTIME,
    }
}

/// The name of the namespace's file in `/proc/PID/ns`.
pub(crate) fn name(flag: i32) -> &'static str {
    match flag {
        libc::CLONE_NEWNS => "mnt",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWPID => "pid",
        libc::CLONE_NEWNET => "net",
        libc::CLONE_NEWTIME => "time",
        _ => "unknown",
    }
}

impl Namespaces {
    /// Sorts `linux.namespaces`.
    pub(crate) fn plan(namespaces: &[LinuxNamespace]) -> Result<Self, Error> {
        let mut plan = Self::default();
        let mut seen = 0;
        for (index, namespace) in namespaces.iter().enumerate() {
            let flag = flag(namespace.typ());
            if seen & flag != 0 {
                return Err(Error::config(
                    format!("linux.namespaces[{index}]"),
                    format!("malformed spec file: duplicated ns {:?}", name(flag)),
                ));
            }
            seen |= flag;
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                None => plan.new |= flag,
                Some(path) => plan.join.push((flag, path.clone())),
            }
        }
        // The user namespace comes first: it gives the right to join the others that it owns.
        plan.join
            .sort_by_key(|(flag, _)| (*flag != libc::CLONE_NEWUSER, *flag == libc::CLONE_NEWNS));
        if seen & libc::CLONE_NEWNS == 0 {
            return Err(Error::config("linux.namespaces", "a container needs a mount namespace"));
        }
        Ok(plan)
    }

    /// Whether the container has a namespace of this type that is not the runtime's, new or joined.
    pub(crate) fn has(&self, flag: i32) -> bool {
        self.new & flag != 0 || self.join.iter().any(|(joined, _)| *joined == flag)
    }

    /// Whether a namespace of this type is made for the container.
    pub(crate) fn makes(&self, flag: i32) -> bool {
        self.new & flag != 0
    }

    /// Whether any is joined, in which there may be processes already.
    pub(crate) fn joins_any(&self) -> bool {
        !self.join.is_empty()
    }

    /// The flags of all of them.
    pub(crate) fn all(&self) -> i32 {
        self.join.iter().fold(self.new, |flags, (flag, _)| flags | flag)
    }

    /// Whether the container's user ids are not the host's.
    pub(crate) fn in_user_namespace(&self) -> bool {
        self.has(libc::CLONE_NEWUSER)
    }
}
