//! From the rules of a policy to intervals of system call numbers: one sorted list for each architecture.

use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use crate::error::{Error, Result};
use crate::syscalls::{ARM_PRIVATE, Numbers, Table, X32_BIT, numbers};

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

/// The policy, checked, with its answers in the kernel's terms and its names looked up (once: there are hundreds).
pub(crate) struct Policy<'a> {
    listed: &'a [Arch],
    rules: Vec<Rule<'a>>,
    default: u32,
    /// The answer to calls that are newer than the policy.
    newer: Option<u32>,
    /// Names that no architecture has.
    pub(crate) unknown: Vec<String>,
    /// Whether a rule notifies.
    pub(crate) notifies: bool,
}

struct Rule<'a> {
    answer: u32,
    args: &'a [LinuxSeccompArg],
    calls: Vec<Numbers>,
}

/// The rules of one call.
#[derive(Default)]
struct Call {
    conditions: Vec<Conditional>,
    always: Option<u32>,
}

fn answer(action: LinuxSeccompAction, errno: Option<u32>, field: impl Fn() -> String) -> Result<u32> {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    match errno {
        Some(value) if value > MAX_ERRNO => Err(Error::Errno { field: field(), value }),
        Some(_) if !matches!(action, ScmpActErrno | ScmpActTrace) => Err(Error::NoErrno {
            field: field(),
            action: action.to_string(),
        }),
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
        let mut policy = Self {
            listed: seccomp.architectures().as_deref().unwrap_or_default(),
            rules: Vec::new(),
            default,
            newer: (!permissive && !already).then_some(RET_ENOSYS),
            unknown: Vec::new(),
            notifies: false,
        };
        for (at, rule) in seccomp.syscalls().iter().flatten().enumerate() {
            policy.add(at, rule)?;
        }
        policy.unknown.sort();
        policy.unknown.dedup();
        Ok(policy)
    }

    fn add(&mut self, at: usize, rule: &'a LinuxSyscall) -> Result<()> {
        let notifies = rule.action() == LinuxSeccompAction::ScmpActNotify;
        self.notifies |= notifies;
        if notifies && rule.names().iter().any(|n| n == "write") {
            return Err(Error::NotifyWrite(at));
        }
        let answer = answer(rule.action(), rule.errno_ret(), || {
            format!("linux.seccomp.syscalls[{at}].errnoRet")
        })?;
        let args = rule.args().as_deref().unwrap_or_default();
        if let Some((arg, test)) = args.iter().enumerate().find(|(_, test)| test.index() > 5) {
            return Err(Error::Argument {
                rule: at,
                arg,
                index: test.index(),
            });
        }
        let mut calls = Vec::with_capacity(rule.names().len());
        for name in rule.names() {
            match numbers(name) {
                Some(numbers) => calls.push(numbers),
                None => self.unknown.push(name.clone()),
            }
        }
        self.rules.push(Rule { answer, args, calls });
        Ok(())
    }

    /// The sections for the native architecture and the listed ones, native first; and the listed ones without a table.
    pub(crate) fn sections(&self, native: Table) -> (Vec<Section>, Vec<Arch>) {
        let foreign = self
            .listed
            .iter()
            .copied()
            .filter(|a| Table::of(*a).is_none())
            .collect();
        let mut tables = vec![native];
        for table in self.listed.iter().filter_map(|a| Table::of(*a)) {
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
            let mut leaves = Leaves(Vec::new());
            self.fill(table, &mut leaves);
            if table == Table::X86_64 {
                self.add_x32(&mut leaves, x32);
            }
            sections.push(Section {
                audit_arch: table.audit_arch(),
                wide: table.is_64(),
                leaves: leaves.0,
            });
        }
        (sections, foreign)
    }

    /// The rules by number, and the highest number that the policy names.
    fn calls(&self, table: Table) -> (BTreeMap<u32, Call>, Option<u32>) {
        let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
        let mut last = None;
        for rule in &self.rules {
            for number in rule.calls.iter().filter_map(|call| call.of(table)) {
                if table != Table::Arm || number < ARM_PRIVATE {
                    last = last.max(Some(number));
                }
                // What the default says anyway is no rule.
                if rule.answer != self.default {
                    calls.entry(number).or_default().add(rule.args, rule.answer);
                }
            }
        }
        (calls, last)
    }

    /// The intervals of one table, from its first number up.
    fn fill(&self, table: Table, leaves: &mut Leaves) {
        let (calls, last) = self.calls(table);
        // What holds where no call has rules: the default up to the last call that is named, then "newer".
        let base = if table == Table::X32 { X32_BIT } else { 0 };
        let mut ground = vec![(base, self.default)];
        if let (Some(newer), Some(last)) = (self.newer, last) {
            ground.push((last + 1, newer));
            if table == Table::Arm {
                ground.push((ARM_PRIVATE, self.default));
            }
        }
        let mut next = base;
        for (number, call) in calls {
            leaves.fill(&ground, next, number);
            leaves.push(number, call.leaf(self.default));
            next = number + 1;
        }
        leaves.fill(&ground, next, u32::MAX);
    }

    /// x32 shares x86-64's audit word and lives above its bit. When it is not wanted, its calls are those of an unknown
    /// architecture; but -1, which a tracer puts in for "skip this call", is nobody's.
    fn add_x32(&self, leaves: &mut Leaves, wanted: bool) {
        if wanted {
            return self.fill(Table::X32, leaves);
        }
        let known = self
            .rules
            .iter()
            .flat_map(|r| &r.calls)
            .any(|call| call.of(Table::X86_64).is_some());
        if self.newer.is_none() || !known {
            leaves.push(X32_BIT, Leaf::Answer(RET_KILL_THREAD));
            leaves.push(u32::MAX, Leaf::Answer(self.default));
        }
    }
}

/// Intervals in the making; neighbours with the same answer are one.
struct Leaves(Vec<(u32, Leaf)>);

impl Leaves {
    fn push(&mut self, at: u32, leaf: Leaf) {
        let same = matches!(leaf, Leaf::Answer(_)) && self.0.last().is_some_and(|(_, before)| *before == leaf);
        if !same {
            self.0.push((at, leaf));
        }
    }

    /// What the ground says from `from` up to `to`.
    fn fill(&mut self, ground: &[(u32, u32)], from: u32, to: u32) {
        for (at, (start, answer)) in ground.iter().enumerate() {
            let end = ground.get(at + 1).map_or(u32::MAX, |next| next.0);
            if (*start).max(from) < end.min(to) {
                self.push((*start).max(from), Leaf::Answer(*answer));
            }
        }
    }
}

impl Call {
    fn leaf(self, default: u32) -> Leaf {
        match self.always {
            Some(answer) => Leaf::Answer(answer),
            None => Leaf::Conditions(self.conditions, default),
        }
    }

    /// A rule without arguments wins over all with, and over later ones without: so does libseccomp. Rules with arguments are
    /// tried in order. Two tests of the same argument in one rule are alternatives, as runc reads them.
    fn add(&mut self, args: &[LinuxSeccompArg], answer: u32) {
        // A test of no bits always holds: a rule of such tests alone is one without, for libseccomp too.
        let tests_bits = |test: &&LinuxSeccompArg| {
            test.op() != LinuxSeccompOperator::ScmpCmpMaskedEq
                || (test.value(), test.value_two().unwrap_or(0)) != (0, 0)
        };
        if args.iter().filter(tests_bits).count() == 0 {
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
