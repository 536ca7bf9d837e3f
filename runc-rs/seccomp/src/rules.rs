//! From the rules of a policy to intervals of system call numbers: one sorted list for each architecture.

use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall};

use crate::error::{Error, Result};
use crate::syscalls::{ARM_PRIVATE, Table, X32_BIT, is_known, number};

pub(crate) const RET_KILL_THREAD: u32 = 0;
pub(crate) const RET_ENOSYS: u32 = 0x0005_0000 | 38;
/// The largest error number that fits the kernel's convention (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;
const ENOSYS: u32 = 38;

/// All tests hold -> the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conditional {
    pub(crate) tests: Vec<LinuxSeccompArg>,
    pub(crate) answer: u32,
}

/// What happens in an interval of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// One answer.
    Answer(u32),
    /// The first of these that holds, else the answer.
    Conditions(Vec<Conditional>, u32),
}

/// An architecture as the kernel tells it apart: its audit word, and intervals from 0 up, each to the start of the next.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) audit_arch: u32,
    pub(crate) wide: bool,
    pub(crate) leaves: Vec<(u32, Leaf)>,
}

/// The policy, checked and with its answers in the kernel's terms.
pub(crate) struct Policy<'a> {
    seccomp: &'a LinuxSeccomp,
    default: u32,
    /// The answer to calls that are newer than the policy.
    newer: Option<u32>,
}

/// The rules of one call.
#[derive(Default)]
struct Call {
    conditions: Vec<Conditional>,
    always: Option<u32>,
}

fn answer(action: LinuxSeccompAction, errno: Option<u32>, field: impl Fn() -> String) -> Result<u32> {
    match errno {
        Some(value) if value > MAX_ERRNO => Err(Error::Errno { field: field(), value }),
        _ => Ok(action.as_u32(errno)),
    }
}

impl<'a> Policy<'a> {
    pub(crate) fn new(seccomp: &'a LinuxSeccomp) -> Result<Self> {
        use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno, ScmpActLog, ScmpActNotify, ScmpActTrace};
        let action = seccomp.default_action();
        if action == ScmpActNotify {
            return Err(Error::NotifyDefault);
        }
        let default = answer(action, seccomp.default_errno_ret(), || {
            "linux.seccomp.defaultErrnoRet".to_owned()
        })?;
        // Permissive policies let newer calls through as they do older ones; a tracer is expected to know what it does.
        let permissive = matches!(action, ScmpActAllow | ScmpActLog | ScmpActTrace);
        let already = action == ScmpActErrno && seccomp.default_errno_ret() == Some(ENOSYS);
        let policy = Self {
            seccomp,
            default,
            newer: (!permissive && !already).then_some(RET_ENOSYS),
        };
        for (at, rule) in policy.rules().enumerate() {
            if rule.action() == ScmpActNotify && rule.names().iter().any(|n| n == "write") {
                return Err(Error::NotifyWrite(at));
            }
            policy.answer(at, rule)?;
            for (arg, test) in rule.args().iter().flatten().enumerate() {
                if test.index() > 5 {
                    return Err(Error::Argument {
                        rule: at,
                        arg,
                        index: test.index(),
                    });
                }
            }
        }
        Ok(policy)
    }

    fn rules(&self) -> impl Iterator<Item = &'a LinuxSyscall> + use<'a> {
        self.seccomp.syscalls().iter().flatten()
    }

    fn answer(&self, at: usize, rule: &LinuxSyscall) -> Result<u32> {
        answer(rule.action(), rule.errno_ret(), || {
            format!("linux.seccomp.syscalls[{at}].errnoRet")
        })
    }

    /// Names that no architecture has.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let mut unknown: Vec<String> = self
            .rules()
            .flat_map(LinuxSyscall::names)
            .filter(|n| !is_known(n))
            .cloned()
            .collect();
        unknown.sort();
        unknown.dedup();
        unknown
    }

    /// Whether a rule notifies.
    pub(crate) fn notifies(&self) -> bool {
        self.rules().any(|r| r.action() == LinuxSeccompAction::ScmpActNotify)
    }

    /// The sections for the native architecture and the listed ones, native first; and the listed ones without a table.
    pub(crate) fn sections(&self, native: Table) -> Result<(Vec<Section>, Vec<Arch>)> {
        let listed = self.seccomp.architectures().as_deref().unwrap_or_default();
        let foreign = listed.iter().copied().filter(|a| Table::of(*a).is_none()).collect();
        let mut tables = vec![native];
        for table in listed.iter().filter_map(|a| Table::of(*a)) {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        let x32 = tables.contains(&Table::X32);
        if x32 && !tables.contains(&Table::X86_64) {
            tables.push(Table::X86_64);
        }
        let mut sections = Vec::new();
        for table in tables.into_iter().filter(|t| *t != Table::X32) {
            let mut leaves = self.leaves(table)?;
            if table == Table::X86_64 {
                self.add_x32(&mut leaves, x32)?;
            }
            merge(&mut leaves);
            sections.push(Section {
                audit_arch: table.audit_arch(),
                wide: table.is_64(),
                leaves,
            });
        }
        Ok((sections, foreign))
    }

    /// The rules by number, and the highest number that the policy names.
    fn calls(&self, table: Table) -> Result<(BTreeMap<u32, Call>, Option<u32>)> {
        let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
        let mut last = None;
        for (at, rule) in self.rules().enumerate() {
            let answer = self.answer(at, rule)?;
            for number in rule.names().iter().filter_map(|name| number(name, table)) {
                if table != Table::Arm || number < ARM_PRIVATE {
                    last = last.max(Some(number));
                }
                // What the default says anyway is no rule.
                if answer != self.default {
                    calls
                        .entry(number)
                        .or_default()
                        .add(rule.args().as_deref().unwrap_or_default(), answer);
                }
            }
        }
        Ok((calls, last))
    }

    fn leaves(&self, table: Table) -> Result<Vec<(u32, Leaf)>> {
        let (calls, last) = self.calls(table)?;
        let mut points = BTreeMap::new();
        let base = if table == Table::X32 { X32_BIT } else { 0 };
        points.insert(base, Leaf::Answer(self.default));
        // Below a call's successor lies the default again, unless that is a call too.
        points.extend(calls.keys().map(|n| (n + 1, Leaf::Answer(self.default))));
        if let (Some(newer), Some(last)) = (self.newer, last) {
            points.retain(|at, _| *at <= last);
            points.insert(last + 1, Leaf::Answer(newer));
            if table == Table::Arm {
                points.insert(ARM_PRIVATE, Leaf::Answer(self.default));
                let private = calls.keys().filter(|n| **n >= ARM_PRIVATE);
                points.extend(private.map(|n| (n + 1, Leaf::Answer(self.default))));
            }
        }
        for (number, call) in calls {
            let leaf = match call.always {
                Some(answer) => Leaf::Answer(answer),
                None => Leaf::Conditions(call.conditions, self.default),
            };
            points.insert(number, leaf);
        }
        Ok(points.into_iter().collect())
    }

    /// x32 shares x86-64's audit word and lives above its bit. When it is not wanted, its calls are those of an unknown
    /// architecture; but -1, which a tracer puts in for "skip this call", is nobody's.
    fn add_x32(&self, leaves: &mut Vec<(u32, Leaf)>, wanted: bool) -> Result<()> {
        if wanted {
            leaves.extend(self.leaves(Table::X32)?);
            return Ok(());
        }
        let known = self
            .rules()
            .any(|r| r.names().iter().any(|n| number(n, Table::X86_64).is_some()));
        if self.newer.is_none() || !known {
            leaves.push((X32_BIT, Leaf::Answer(RET_KILL_THREAD)));
            leaves.push((u32::MAX, Leaf::Answer(self.default)));
        }
        Ok(())
    }
}

impl Call {
    /// A rule without arguments wins over all with, and over later ones without: so does libseccomp. Rules with arguments are
    /// tried in order. Two tests of the same argument in one rule are alternatives, as runc reads them.
    fn add(&mut self, args: &[LinuxSeccompArg], answer: u32) {
        if args.is_empty() {
            self.always.get_or_insert(answer);
            return;
        }
        let repeated = (0..6).any(|index| args.iter().filter(|a| a.index() == index).count() > 1);
        let groups: Vec<Vec<LinuxSeccompArg>> = if repeated {
            args.iter().map(|a| vec![*a]).collect()
        } else {
            vec![args.to_vec()]
        };
        for tests in groups {
            let new = Conditional { tests, answer };
            if !self.conditions.contains(&new) {
                self.conditions.push(new);
            }
        }
    }
}

fn merge(leaves: &mut Vec<(u32, Leaf)>) {
    leaves.dedup_by(|later, earlier| matches!(later.1, Leaf::Answer(_)) && later.1 == earlier.1);
}
