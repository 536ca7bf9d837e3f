//! Compiles the OCI seccomp object (OCI runtime spec, config-linux.md "Seccomp") to a BPF filter, and loads it.
//!
//! runc, crun and youki leave this to libseccomp, a C library; the crates in Rust cannot say what a container's policy says (an
//! action for each rule, several architectures in one filter, notification). The whole is small when it is laid out for what policies
//! are: a long list of system calls that are allowed whatever their arguments, a few with conditions, and one answer for the rest.
//!
//! So the compiler thinks in *intervals*. For each architecture the rules are folded into a sorted list of intervals of system call
//! numbers, each with an answer; neighbours with the same answer merge; a balanced tree of comparisons finds the interval in seven
//! or eight steps, where a list would need hundreds. The kernel's own cache of "always allowed" calls understands the result too.
//!
//! Everything that allocates happens in [`compile`]. [`Program::load`] is one system call on memory that is ready, safe to make
//! between fork and exec.
//!
//! What libseccomp and runc do at the edges is done here too: names that are unknown are skipped (and listed); rules that say what
//! the default says are dropped; calls newer than the newest one that the profile knows answer ENOSYS instead of the default error, so
//! that C libraries fall back to older calls; architectures that are not listed are killed. Random policies get the same answers as
//! from libseccomp (a test). Two edges differ: libseccomp lets rules for `socket` and friends also reach into x86's multiplexed `socketcall`,
//! which here is a call like any other; and where several rules for one call overlap in part, ours are tried in order, while
//! libseccomp 2.5 may give an answer that none of them has.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use runc_rs_seccomp::{Call, compile, evaluate, syscalls::{Table, number}};
//!
//! let policy = serde_json::from_str(
//!     r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}"#,
//! )?;
//! let program = compile(&policy)?; // before the fork; `program.load()` after it
//! let table = Table::native().ok_or("no table")?;
//! let call = Call { nr: number("mount", table).ok_or("no mount")?, arch: table.audit_arch(), ..Call::default() };
//! assert_eq!(evaluate(program.instructions(), &call), Some(0x0005_0001));
//! # Ok(())
//! # }
//! ```

mod compile;
mod error;
mod evaluate;
mod features;
mod insn;
mod program;
mod rules;
pub mod sys;
pub mod syscalls;

pub use compile::{compile, compile_for};
pub use error::{Error, Result};
pub use evaluate::{Call, evaluate};
pub use features::{known_actions, known_archs, known_flags, known_operators, supported_flags};
pub use insn::Insn;
pub use program::Program;
