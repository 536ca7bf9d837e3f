//! config-linux.md: seccomp.

use crate::conformance::must::Must;
use crate::must;

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("linux.seccomp.default-action", "config-linux.md#seccomp", "defaultAction is for system calls that no rule names", seccomp::actions),
    must!("linux.seccomp.actions", "config-linux.md#seccomp", "ERRNO, KILL, KILL_THREAD, KILL_PROCESS, TRAP, LOG and ALLOW do what their names say", seccomp::actions),
    must!("linux.seccomp.errno", "config-linux.md#seccomp", "errnoRet and defaultErrnoRet are the error; unset, it is EPERM", seccomp::errnos),
    must!("linux.seccomp.errno-unsupported", "config-linux.md#seccomp", "an errnoRet of an action that has none is an error", seccomp::errno_of_another_action),
    must!("linux.seccomp.default-errno-unsupported", "config-linux.md#seccomp", "a defaultErrnoRet of an action that has none is an error", seccomp::errno_of_another_action),
    must!("linux.seccomp.architectures", "config-linux.md#seccomp", "architectures add to the native one", seccomp::architectures),
    must!("linux.seccomp.flags", "config-linux.md#seccomp", "flags are those of seccomp(2)", seccomp::flags),
    must!("linux.seccomp.names", "config-linux.md#seccomp", "a rule without a name is an error", seccomp::invalid),
    must!("linux.seccomp.operators", "config-linux.md#seccomp", "the seven operators compare arguments", seccomp::operators),
    must!("linux.seccomp.listener-socket", "config-linux.md#seccomp", "listenerPath is a UNIX stream socket", notify::state),
    must!("linux.seccomp.listener-one", "config-linux.md#seccomp", "one state for each connection", notify::state),
    must!("linux.seccomp.listener-closed", "config-linux.md#seccomp", "the connection is closed when the state is sent", notify::state),
    must!("linux.seccomp.listener-fails", "config-linux.md#seccomp", "a state that can't be sent is an error", notify::nobody_listens),
    must!("linux.seccomp.listener-ignored", "config-linux.md#seccomp", "without SCMP_ACT_NOTIFY listenerPath means nothing", notify::ignored),
    must!("linux.seccomp.metadata-alone", "config-linux.md#seccomp", "listenerMetadata without listenerPath is an error", notify::metadata_alone),
    must!("linux.seccomp.state-json", "config-linux.md#the-container-process-state", "the state is JSON on the socket, its descriptors by SCM_RIGHTS", notify::state),
    must!("linux.seccomp.state-first", "config-linux.md#the-container-process-state", "the descriptors come with the first message", notify::state),
    must!("linux.seccomp.state-content", "config-linux.md#the-container-process-state", "version, seccompFd, pid, metadata and the container's state", notify::state),
];
