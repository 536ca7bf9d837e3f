//! Why a policy cannot be compiled.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A policy that cannot be compiled. The fields are those of config.json.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `SCMP_ACT_NOTIFY` for everything would stop the runtime itself.
    #[error("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyDefault,
    /// The runtime needs `write` to hand the listener over.
    #[error("linux.seccomp.syscalls[{0}].action: SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite(usize),
    /// An argument that no system call has.
    #[error("linux.seccomp.syscalls[{rule}].args[{arg}].index: {index} is not in range 0 to 5")]
    Argument {
        /// Which rule.
        rule: usize,
        /// Which of its arguments.
        arg: usize,
        /// The index asked for.
        index: usize,
    },
    /// An error number that the kernel does not have.
    #[error("{field}: {value} is not an error number")]
    Errno {
        /// The field.
        field: String,
        /// Its value.
        value: u32,
    },
    /// An error number beside an action that returns none (runtime-spec, config-linux.md "Seccomp").
    #[error("{field}: {action} returns no error number")]
    NoErrno {
        /// The field.
        field: String,
        /// The action beside it.
        action: String,
    },
    /// The kernel takes 4,096 instructions.
    #[error("linux.seccomp: the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    /// A kernel of an architecture that this crate has no table for.
    #[error("linux.seccomp: no table of system calls for this machine's architecture {0}")]
    Native(String),
}
