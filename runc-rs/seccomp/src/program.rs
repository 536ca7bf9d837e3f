//! A compiled filter.

use std::os::fd::OwnedFd;

use oci_spec::runtime::Arch;
use rustix::io::Errno;

use crate::insn::Insn;
use crate::sys;

/// Flags of `seccomp(SECCOMP_SET_MODE_FILTER)` (linux/seccomp.h).
pub(crate) mod flag {
    /// All threads of the process.
    pub(crate) const TSYNC: u32 = 1;
    /// Log what is not allowed.
    pub(crate) const LOG: u32 = 1 << 1;
    /// No mitigation of speculative store bypass for it.
    pub(crate) const SPEC_ALLOW: u32 = 1 << 2;
    /// Return a descriptor for notifications.
    pub(crate) const NEW_LISTENER: u32 = 1 << 3;
    /// Failure of TSYNC is ESRCH, so that the result can be a descriptor.
    pub(crate) const TSYNC_ESRCH: u32 = 1 << 4;
    /// Only fatal signals interrupt a call whose notification was received.
    pub(crate) const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// A filter that is ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) filter: Vec<Insn>,
    pub(crate) flags: u32,
    pub(crate) optional_flags: u32,
    pub(crate) unknown: Vec<String>,
    pub(crate) foreign: Vec<Arch>,
}

impl Program {
    /// The instructions.
    pub fn instructions(&self) -> &[Insn] {
        &self.filter
    }

    /// The flags for `seccomp(2)`.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether loading gives a descriptor for notifications.
    pub fn has_listener(&self) -> bool {
        self.flags & flag::NEW_LISTENER != 0
    }

    /// Names in the policy that no architecture has; their rules were skipped. For a warning.
    pub fn unknown_syscalls(&self) -> &[String] {
        &self.unknown
    }

    /// Loads the filter for the calling thread (all threads with TSYNC), for good. Needs `no_new_privs`, or CAP_SYS_ADMIN in the
    /// user namespace. Allocates nothing: may be called between fork and exec.
    ///
    /// The descriptor is given when a rule notifies; it is close-on-exec.
    ///
    /// # Errors
    /// EACCES without the privilege; EINVAL for flags or actions that the kernel does not know; EBUSY for a second listener;
    /// ESRCH when TSYNC cannot bring a thread along.
    pub fn load(&self) -> Result<Option<OwnedFd>, Errno> {
        match sys::load(&self.filter, self.flags) {
            Err(Errno::INVAL) if self.optional_flags != 0 => sys::load(&self.filter, self.flags & !self.optional_flags),
            other => other,
        }
    }
}
