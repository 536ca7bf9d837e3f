//! The container's system-call filter: compiled before the fork, kept beside the container's record for `exec`, and its listener
//! handed to whoever answers the notifications.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use runc_rs_seccomp::{Insn, Program, compile, sys};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::init::fail::{Fail, Step};

/// Bytes of one instruction (`struct sock_filter`).
const INSN_SIZE: usize = 8;

/// Where notifications are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) path: PathBuf,
    pub(crate) metadata: String,
}

/// A compiled filter: what [`sys::load`] takes.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    instructions: Vec<Insn>,
    flags: u32,
    /// Set for a filter that notifies.
    pub(crate) listener: Option<Listener>,
}

impl Filter {
    /// Compiles the configuration. Names that no architecture has are skipped: profiles list calls of every kernel there is, and
    /// runc says nothing either.
    pub(crate) fn compile(config: &LinuxSeccomp) -> Result<Self, Error> {
        if config.listener_path().is_none() && config.listener_metadata().as_ref().is_some_and(|text| !text.is_empty())
        {
            let text = "linux.seccomp.listenerMetadata is set without linux.seccomp.listenerPath";
            return Err(Error::Seccomp(text.into()));
        }
        let program: Program = compile(config).map_err(|error| Error::Seccomp(error.to_string()))?;
        let listener = if program.has_listener() {
            let path = config
                .listener_path()
                .clone()
                .ok_or_else(|| Error::Seccomp("seccomp listenerPath is empty".into()))?;
            Some(Listener {
                path,
                metadata: config.listener_metadata().clone().unwrap_or_default(),
            })
        } else {
            None
        };
        Ok(Self {
            instructions: program.instructions().to_vec(),
            flags: program.flags(),
            listener,
        })
    }

    /// As bytes, for a file: the flags, then the instructions.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((self.instructions.len() + 1) * INSN_SIZE);
        bytes.extend(self.flags.to_le_bytes());
        for insn in &self.instructions {
            bytes.extend(insn.code.to_le_bytes());
            bytes.extend([insn.jt, insn.jf]);
            bytes.extend(insn.k.to_le_bytes());
        }
        bytes
    }

    /// From such bytes.
    pub(crate) fn from_bytes(bytes: &[u8], listener: Option<Listener>) -> Result<Self, Error> {
        let broken = || Error::Seccomp("the container's filter file is damaged".into());
        let (flags, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
        let (chunks, left) = rest.as_chunks::<INSN_SIZE>();
        if !left.is_empty() || chunks.is_empty() {
            return Err(broken());
        }
        let insn = |[a, b, jt, jf, k @ ..]: &[u8; INSN_SIZE]| Insn {
            code: u16::from_le_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_le_bytes(*k),
        };
        Ok(Self {
            instructions: chunks.iter().map(insn).collect(),
            flags: u32::from_le_bytes(*flags),
            listener,
        })
    }

    /// Puts the filter in force for the calling process, and gives the listener away by `socket`.
    pub(crate) fn load(&self, handover: Option<&Handover<'_>>) -> Result<(), Fail> {
        let listener = sys::load(&self.instructions, self.flags)
            .step(|| "unable to init seccomp: error loading seccomp filter into kernel")?;
        match (listener, handover) {
            (Some(fd), Some(handover)) => handover.send(&fd),
            (Some(_), None) => Err(Fail::new("nobody takes the seccomp listener")),
            (None, _) => Ok(()),
        }
    }
}

/// How the listener reaches the one who answers: a socket connected before the fork, and what is said with it.
pub(crate) struct Handover<'a> {
    pub(crate) socket: &'a OwnedFd,
    /// The process whose calls are notified, in the runtime's pid namespace.
    pub(crate) pid: i32,
    pub(crate) metadata: &'a str,
    pub(crate) state: crate::hooks::HookState<'a>,
}

/// runtime-spec, config-linux.md "The Container Process State".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a crate::hooks::HookState<'a>,
}

impl Handover<'_> {
    fn send(&self, listener: &OwnedFd) -> Result<(), Fail> {
        let state = ContainerProcessState {
            oci_version: self.state.oci_version,
            fds: ["seccompFd"],
            pid: self.pid,
            metadata: self.metadata,
            state: &self.state,
        };
        let text = serde_json::to_string(&state).map_err(|error| Fail(error.to_string()))?;
        crate::sockets::send_fd(self.socket, listener.as_fd(), &text).map_err(|error| Fail(error.to_string()))
    }
}

/// What of `features` is true of this build and kernel.
pub(crate) fn describe(features: &mut runtime_spec::features::Seccomp) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    features.enabled = true;
    features.actions = owned(runc_rs_seccomp::known_actions());
    features.operators = owned(runc_rs_seccomp::known_operators());
    features.archs = owned(runc_rs_seccomp::known_archs());
    features.known_flags = owned(&runc_rs_seccomp::known_flags());
    features.supported_flags = owned(&runc_rs_seccomp::supported_flags());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_its_file() {
        let config: LinuxSeccomp = serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getcwd", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]
        }))
        .unwrap();
        let filter = Filter::compile(&config).unwrap();
        let again = Filter::from_bytes(&filter.to_bytes(), None).unwrap();
        assert_eq!((again.instructions, again.flags), (filter.instructions, filter.flags));
        assert!(Filter::from_bytes(&[1, 2, 3, 4, 5], None).is_err());
        assert!(Filter::from_bytes(&[], None).is_err());
    }
}
