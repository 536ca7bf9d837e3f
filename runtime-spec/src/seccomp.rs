//! Docker's seccomp policy: the default, which depends on the container's capabilities, and profiles from files.
//!
//! Both are one data structure, [`Profile`], whose rules carry conditions (capabilities, architectures, kernel version). Resolving a
//! profile for one container ([`Profile::resolve`]) drops the conditions and gives what an OCI config carries.

mod default;
mod profile;

use oci_spec::runtime::{Arch, LinuxSeccomp};

pub use profile::{ArchMap, Argument, Conditions, Error, KernelVersion, Profile, Rule};

/// What a profile's conditions are judged by.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The container's bounding capabilities (`CAP_CHOWN`, ...).
    pub capabilities: &'a [String],
    /// The architecture of the kernel.
    pub arch: Arch,
    /// The version of the kernel.
    pub kernel: KernelVersion,
}

impl<'a> Context<'a> {
    /// A context for the architecture this program was built for, and a kernel that is new enough for every condition.
    pub fn native(capabilities: &'a [String]) -> Self {
        Self {
            capabilities,
            arch: native_arch(),
            kernel: KernelVersion {
                major: u32::MAX,
                minor: 0,
            },
        }
    }
}

/// The architecture this program was built for; x86-64 for those that no table here has.
pub fn native_arch() -> Arch {
    match std::env::consts::ARCH {
        "x86" => Arch::ScmpArchX86,
        "arm" => Arch::ScmpArchArm,
        "aarch64" => Arch::ScmpArchAarch64,
        "riscv64" => Arch::ScmpArchRiscv64,
        "powerpc64" if cfg!(target_endian = "little") => Arch::ScmpArchPpc64le,
        "s390x" => Arch::ScmpArchS390x,
        "loongarch64" => Arch::ScmpArchLoongarch64,
        _ => Arch::ScmpArchX86_64,
    }
}

/// The default policy of Docker and containerd, for one container.
pub fn default_profile(context: &Context<'_>) -> LinuxSeccomp {
    default::profile().resolve(context)
}

/// The policy from a profile file (`--security-opt seccomp=profile.json`), for one container.
///
/// # Errors
/// A file that is no profile.
pub fn load_profile(json: &[u8], context: &Context<'_>) -> Result<LinuxSeccomp, Error> {
    Ok(Profile::parse(json)?.resolve(context))
}

#[cfg(test)]
mod tests;
