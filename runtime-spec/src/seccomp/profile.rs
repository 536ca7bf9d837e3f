//! Docker's profile format: OCI's, with conditions.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use serde::{Deserialize, Serialize};

use super::Context;

/// Why a file is no profile; in Docker's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or a field of the wrong type.
    #[error("decoding seccomp profile failed: {0}")]
    Decode(String),
    /// Both spellings of one thing.
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
    )]
    Architectures,
    /// Both spellings of one thing.
    #[error("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")]
    Names,
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// What happens to a system call that no rule speaks of.
    pub default_action: LinuxSeccompAction,
    /// The error number of it, when that is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// The architectures, when the file names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<Arch>>,
    /// For each native architecture the others that its kernel also runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch_map: Option<Vec<ArchMap>>,
    /// Flags of the filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<LinuxSeccompFilterFlag>>,
    /// Where notifications go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<std::path::PathBuf>,
    /// What is sent along with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(deserialize_with = "null_is_empty")]
    pub syscalls: Vec<Rule>,
}

/// An architecture and those that come with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMap {
    /// The native one.
    pub architecture: Arch,
    /// The others.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sub_architectures: Vec<Arch>,
}

/// A rule: some system calls, perhaps only with certain arguments, perhaps only for certain containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The old spelling for a single name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The system calls.
    #[serde(deserialize_with = "null_is_empty")]
    pub names: Vec<String>,
    /// What happens to them.
    pub action: LinuxSeccompAction,
    /// With this error number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// When the arguments are like this.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// All of these must hold.
    #[serde(deserialize_with = "null_is_empty")]
    pub includes: Conditions,
    /// None of these may hold.
    #[serde(deserialize_with = "null_is_empty")]
    pub excludes: Conditions,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which argument, 0 to 5.
    pub index: usize,
    /// What it is compared with; the mask for `SCMP_CMP_MASKED_EQ`.
    #[serde(default)]
    pub value: u64,
    /// What the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: LinuxSeccompOperator,
}

/// When a rule holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conditions {
    /// Capabilities.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Architectures, as Go names them.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// Lowest version of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<KernelVersion>,
}

/// A version of the kernel: `4.8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion {
    /// Before the dot.
    pub major: u32,
    /// After it.
    pub minor: u32,
}

impl TryFrom<String> for KernelVersion {
    type Error = String;

    /// `MAJOR.MINOR`; what follows (`4.8.0-1-amd64`) does not matter.
    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let mut number = || parts.next().and_then(|n| n.parse().ok());
        match (number(), number()) {
            (Some(major), Some(minor)) if (major, minor) != (0, 0) => Ok(Self { major, minor }),
            _ => Err(format!(
                "invalid kernel version {text:?}, expected \"<kernel>.<major>\""
            )),
        }
    }
}

impl From<KernelVersion> for String {
    fn from(version: KernelVersion) -> Self {
        format!("{}.{}", version.major, version.minor)
    }
}

/// Go reads null as the zero value, and profiles in the wild have such.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The name that profiles use for an architecture in conditions: Go's.
fn go_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::ScmpArchX86 => "386",
        Arch::ScmpArchX86_64 => "amd64",
        Arch::ScmpArchX32 => "amd64p32",
        Arch::ScmpArchArm => "arm",
        Arch::ScmpArchAarch64 => "arm64",
        Arch::ScmpArchMips => "mips",
        Arch::ScmpArchMips64 => "mips64",
        Arch::ScmpArchMips64n32 => "mips64p32",
        Arch::ScmpArchMipsel => "mipsle",
        Arch::ScmpArchMipsel64 => "mips64le",
        Arch::ScmpArchMipsel64n32 => "mips64p32le",
        Arch::ScmpArchPpc => "ppc",
        Arch::ScmpArchPpc64 => "ppc64",
        Arch::ScmpArchPpc64le => "ppc64le",
        Arch::ScmpArchS390 => "s390",
        Arch::ScmpArchS390x => "s390x",
        Arch::ScmpArchRiscv64 => "riscv64",
        Arch::ScmpArchLoongarch64 => "loong64",
        _ => "",
    }
}

impl Profile {
    /// Reads a profile file.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let mut parser = serde_json::Deserializer::from_slice(json);
        let profile: Self = serde_path_to_error::deserialize(&mut parser).map_err(|e| Error::Decode(e.to_string()))?;
        parser.end().map_err(|e| Error::Decode(e.to_string()))?;
        let filled = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|l| !l.is_empty());
        if filled(&profile.architectures) && profile.arch_map.as_ref().is_some_and(|m| !m.is_empty()) {
            return Err(Error::Architectures);
        }
        if profile
            .syscalls
            .iter()
            .any(|rule| !rule.name.is_empty() && !rule.names.is_empty())
        {
            return Err(Error::Names);
        }
        Ok(profile)
    }

    /// The profile of one container, as an OCI config carries it.
    pub fn resolve(&self, context: &Context<'_>) -> LinuxSeccomp {
        let mut seccomp = LinuxSeccomp::default();
        let map = self
            .arch_map
            .iter()
            .flatten()
            .find(|map| map.architecture == context.arch);
        let mapped = map.map(|map| {
            std::iter::once(map.architecture)
                .chain(map.sub_architectures.clone())
                .collect()
        });
        seccomp
            .set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(mapped.or_else(|| self.architectures.clone()))
            .set_flags(self.flags.clone())
            .set_listener_path(self.listener_path.clone())
            .set_listener_metadata(self.listener_metadata.clone())
            .set_syscalls(Some(
                self.syscalls
                    .iter()
                    .filter(|r| r.holds(context))
                    .map(Rule::to_oci)
                    .collect(),
            ));
        seccomp
    }
}

impl Rule {
    fn holds(&self, context: &Context<'_>) -> bool {
        let arch = go_arch(context.arch);
        let has = |cap: &String| context.capabilities.contains(cap);
        let excluded = self.excludes.arches.iter().any(|a| a == arch)
            || self.excludes.caps.iter().any(has)
            || self
                .excludes
                .min_kernel
                .is_some_and(|version| context.kernel >= version);
        let included = (self.includes.arches.is_empty() || self.includes.arches.iter().any(|a| a == arch))
            && self.includes.caps.iter().all(has)
            && self.includes.min_kernel.is_none_or(|version| context.kernel >= version);
        included && !excluded
    }

    fn to_oci(&self) -> LinuxSyscall {
        let names = if self.name.is_empty() {
            self.names.clone()
        } else {
            vec![self.name.clone()]
        };
        let mut syscall = LinuxSyscall::default();
        let args: Vec<LinuxSeccompArg> = self.args.iter().copied().map(Argument::to_oci).collect();
        syscall
            .set_names(names)
            .set_action(self.action)
            .set_errno_ret(self.errno_ret)
            .set_args((!args.is_empty()).then_some(args));
        syscall
    }
}

impl Argument {
    fn to_oci(self) -> LinuxSeccompArg {
        let masked = self.op == LinuxSeccompOperator::ScmpCmpMaskedEq;
        let builder = LinuxSeccompArgBuilder::default()
            .index(self.index)
            .value(self.value)
            .op(self.op);
        let builder = if masked || self.value_two != 0 {
            builder.value_two(self.value_two)
        } else {
            builder
        };
        // No field is missing, so the builder has nothing to refuse.
        builder.build().unwrap_or_default()
    }
}
