//! Device rules (OCI runtime spec, config-linux.md "Allowed Device list"): the ordered list of a config is folded into a default and
//! exceptions, which both versions then enforce alike: v1 by its lists, v2 by an eBPF program.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::{Error, Result};

mod ebpf;
pub use ebpf::{Insn, program};

/// Access bits, with the kernel's values (`BPF_DEVCG_ACC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    /// mknod.
    pub const MKNOD: u8 = 1;
    /// read.
    pub const READ: u8 = 2;
    /// write.
    pub const WRITE: u8 = 4;

    fn parse(text: &str) -> Result<Self> {
        let mut bits = 0;
        for c in text.chars() {
            bits |= match c {
                'm' => Self::MKNOD,
                'r' => Self::READ,
                'w' => Self::WRITE,
                _ => return Err(invalid(format!("invalid access {text:?}"))),
            };
        }
        Ok(Self(bits))
    }

    pub(crate) fn text(self) -> String {
        let all = [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')];
        all.iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, c)| c)
            .collect()
    }
}

/// What an exception speaks of. `None` is every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Block device, else character device.
    pub block: bool,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
}

impl Match {
    fn covers(&self, other: &Self) -> bool {
        let within = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
        self.block == other.block && within(self.major, other.major) && within(self.minor, other.minor)
    }

    /// Whether some device is meant by both.
    fn meets(&self, other: &Self) -> bool {
        let both = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.block == other.block && both(self.major, other.major) && both(self.minor, other.minor)
    }
}

/// A default and its exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What happens to what no exception speaks of.
    pub allow: bool,
    /// The exceptions, each with the accesses it is about.
    pub exceptions: Vec<(Match, Access)>,
}

fn invalid(reason: String) -> Error {
    Error::Invalid {
        field: "linux.resources.devices",
        reason,
    }
}

/// Folds the ordered rules of a config into a policy; later rules win over earlier ones. With no rule at all everything is denied.
///
/// # Errors
/// A malformed rule; or one that takes a part out of an earlier exception, which v1 cannot express and so neither version
/// takes.
pub fn fold(rules: &[LinuxDeviceCgroup]) -> Result<Policy> {
    let mut policy = Policy {
        allow: false,
        exceptions: Vec::new(),
    };
    for rule in rules {
        let number = |value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n)
                .map(Some)
                .map_err(|_| invalid(format!("invalid device number {n}"))),
        };
        let block = match rule.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::A => {
                // The kernel takes nothing but the whole list with type "a".
                policy = Policy {
                    allow: rule.allow(),
                    exceptions: Vec::new(),
                };
                continue;
            }
            LinuxDeviceType::B => true,
            LinuxDeviceType::C | LinuxDeviceType::U => false,
            LinuxDeviceType::P => return Err(invalid("a fifo is no device to rule over".to_owned())),
        };
        let what = Match {
            block,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
        };
        let access = Access::parse(rule.access().as_deref().filter(|a| !a.is_empty()).unwrap_or("rwm"))?;
        if rule.allow() == policy.allow {
            take_back(&mut policy, what, access)?
        } else {
            except(&mut policy, what, access)
        }
    }
    Ok(policy)
}

fn except(policy: &mut Policy, what: Match, access: Access) {
    match policy.exceptions.iter_mut().find(|(m, _)| *m == what) {
        Some((_, bits)) => bits.0 |= access.0,
        None => policy.exceptions.push((what, access)),
    }
}

/// A rule that says what the default says: it ends earlier exceptions that it covers.
fn take_back(policy: &mut Policy, what: Match, access: Access) -> Result<()> {
    for (found, bits) in &mut policy.exceptions {
        if what.covers(found) {
            bits.0 &= !access.0;
        } else if found.meets(&what) && bits.0 & access.0 != 0 {
            let (part, whole) = (line(&what, access), line(found, *bits));
            return Err(invalid(format!(
                "requested rule [{part}] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [{whole}])"
            )));
        }
    }
    policy.exceptions.retain(|(_, bits)| bits.0 != 0);
    Ok(())
}

fn line(what: &Match, access: Access) -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let kind = if what.block { 'b' } else { 'c' };
    format!("{kind} {}:{} {}", number(what.major), number(what.minor), access.text())
}

/// The v1 writes of a policy: `(file, value)`. The first sets the default and clears what was there; for a container that
/// runs, see [`changes_v1`].
pub fn writes_v1(policy: &Policy) -> Vec<(&'static str, String)> {
    let (reset, except) = if policy.allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    let mut writes = vec![(reset, "a".to_owned())];
    writes.extend(
        policy
            .exceptions
            .iter()
            .map(|(what, access)| (except, line(what, *access))),
    );
    writes
}

/// The v1 writes that lead from the list as it stands (`devices.list`) to `policy`, without a moment in which a running
/// container lacks a device it has before and after: new exceptions first, then the ones to go.
pub fn changes_v1(current: &str, policy: &Policy) -> Vec<(&'static str, String)> {
    let present: Vec<&str> = current.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if policy.allow || present.iter().any(|l| l.starts_with('a')) {
        return writes_v1(policy);
    }
    let wanted: Vec<String> = policy
        .exceptions
        .iter()
        .map(|(what, access)| line(what, *access))
        .collect();
    let add = wanted
        .iter()
        .filter(|w| !present.contains(&w.as_str()))
        .map(|w| ("devices.allow", w.clone()));
    let go = present.iter().filter(|p| !wanted.iter().any(|w| w == *p));
    let mut writes: Vec<_> = add.collect();
    for gone in go {
        writes.push(("devices.deny", (*gone).to_owned()));
        // Taking back "c 1:3 rwm" also takes back the bits that a wanted "c 1:3 r" has.
        let key = gone.rsplit_once(' ').map_or(*gone, |(key, _)| key);
        let again = wanted
            .iter()
            .filter(|w| w.rsplit_once(' ').is_some_and(|(k, _)| k == key));
        writes.extend(again.map(|w| ("devices.allow", w.clone())));
    }
    writes
}

/// The rules that every container gets after its own: making any device node, and using the handful that the OCI runtime spec
/// promises ("Default Devices") and pseudo terminals. The machine's console (5:1) is not among them: a container's is a terminal.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{B, C};
    let rows: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 10] = [
        (C, None, None, "m"),
        (B, None, None, "m"),
        (C, Some(1), Some(3), "rwm"), // null
        (C, Some(1), Some(5), "rwm"), // zero
        (C, Some(1), Some(7), "rwm"), // full
        (C, Some(1), Some(8), "rwm"), // random
        (C, Some(1), Some(9), "rwm"), // urandom
        (C, Some(5), Some(0), "rwm"), // tty
        (C, Some(5), Some(2), "rwm"), // ptmx
        (C, Some(136), None, "rwm"),  // pts
    ];
    rows.into_iter()
        .map(|(typ, major, minor, access)| rule(true, typ, major, minor, access))
        .collect()
}

/// One rule, without the builder's ceremony.
pub fn rule(
    allow: bool,
    typ: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(typ))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests;
