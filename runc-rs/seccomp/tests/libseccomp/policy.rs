//! Random policies.

use runc_rs_seccomp::syscalls::{Table, names, number};
use serde_json::{Value, json};

/// What a policy can say: the OCI name, and the kernel's word without data.
pub(crate) const ACTIONS: [(&str, u32); 8] = [
    ("SCMP_ACT_ALLOW", 0x7fff_0000),
    ("SCMP_ACT_LOG", 0x7ffc_0000),
    ("SCMP_ACT_TRAP", 0x0003_0000),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", 0),
    ("SCMP_ACT_ERRNO", 0x0005_0000),
    ("SCMP_ACT_TRACE", 0x7ff0_0000),
    ("SCMP_ACT_NOTIFY", 0x7fc0_0000),
];

/// In libseccomp's order of `enum scmp_compare`, from 1 up.
pub(crate) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const EQ: usize = 3;
const MASKED: usize = 6;

/// Calls that x86 multiplexes (socketcall, ipc): libseccomp reaches into those, ours are calls like any other.
pub(crate) const MULTIPLEXED: &str = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown \
    setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg semop semget semctl semtimedop msgsnd msgrcv msgget msgctl shmat shmdt \
    shmget shmctl";

const VALUES: [u64; 12] = [
    0,
    1,
    2,
    0xff,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7e02_0000,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Numbers that look random: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn value(&mut self) -> u64 {
        match self.below(VALUES.len() + 2) {
            n if n < VALUES.len() => VALUES[n],
            n if n == VALUES.len() => self.next(),
            _ => self.next() >> 32,
        }
    }
}

/// One test of an argument. `op` is a place in [`OPERATORS`].
#[derive(Debug, Clone)]
pub(crate) struct Arg {
    pub(crate) index: usize,
    pub(crate) op: usize,
    pub(crate) value: u64,
    pub(crate) second: u64,
}

/// An answer: a place in [`ACTIONS`], and the data where the policy says one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer(pub(crate) usize, pub(crate) Option<u32>);

impl Answer {
    /// The kernel's word: ERRNO without data is EPERM, and so is TRACE's.
    pub(crate) fn word(self) -> u32 {
        let data = matches!(ACTIONS[self.0].0, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        ACTIONS[self.0].1 | if data { self.1.unwrap_or(1) } else { 0 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) answer: Answer,
    pub(crate) args: Vec<Arg>,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) default: Answer,
    pub(crate) architectures: Vec<&'static str>,
    pub(crate) rules: Vec<Rule>,
}

/// Which shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rules of one call do not overlap in part: where they do, libseccomp 2.5 gives answers that none of them has.
    Disjoint,
    /// Whatever a configuration can say.
    Any,
}

impl Policy {
    pub(crate) fn random(random: &mut Random, kind: Kind) -> Self {
        let mut architectures = Vec::new();
        for name in [
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM",
        ] {
            if random.one_in(2) {
                architectures.push(name);
            }
        }
        if random.one_in(2) {
            architectures.retain(|name| *name == "SCMP_ARCH_X86_64");
        }
        // NOTIFY, the last one, is no default.
        let default = answer(random, ACTIONS.len() - 1);
        // What Debian's libseccomp knows: Linux 5.17. x86-64's own numbers from 335 on are younger than the common ones from 424 on.
        let known: Vec<&'static str> = names()
            .filter(|name| number(name, Table::X86_64).is_some_and(|nr| nr < 335 || (424..450).contains(&nr)))
            .filter(|name| kind == Kind::Any || MULTIPLEXED.split(' ').all(|other| other != *name))
            .collect();
        let narrow = architectures.iter().any(|name| *name != "SCMP_ARCH_X86_64");
        let mut policy = Self {
            default,
            architectures,
            rules: Vec::new(),
        };
        let mut seen = Vec::new();
        for _ in 0..=random.below(30) {
            let name = known[random.below(known.len())];
            // NOTIFY of `write` is refused.
            if name == "write" || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            policy.add_rules(random, kind, name, narrow);
        }
        policy
    }

    fn add_rules(&mut self, random: &mut Random, kind: Kind, name: &'static str, narrow: bool) {
        // 64-bit values on 32-bit architectures are cut by both, but masked ones differently: those stay narrow.
        let cut = if narrow { 0xffff_ffff } else { u64::MAX };
        let fresh = answer(random, ACTIONS.len());
        let mut push = |answer, args| self.rules.push(Rule { name, answer, args });
        match random.below(4) {
            0 => {
                // Several rules that each want another value of one argument, or of some bits of it.
                let (index, masked) = (random.below(6), random.one_in(2));
                for value in 0..2 + random.below(3) as u64 {
                    let arg = Arg {
                        index,
                        op: if masked { MASKED } else { EQ },
                        value: if masked { 0xff00 } else { value * 0x0101_0101 },
                        second: value << 8,
                    };
                    push(fresh, vec![arg]);
                }
            }
            1 if kind == Kind::Any => {
                for _ in 0..2 + random.below(3) {
                    let args = arguments(random, u64::MAX, true);
                    push(answer(random, ACTIONS.len()), args);
                }
            }
            1 | 2 => push(fresh, arguments(random, cut, kind == Kind::Any)),
            _ => push(fresh, Vec::new()),
        }
        if random.one_in(4) {
            push(answer(random, ACTIONS.len()), Vec::new());
        }
    }

    /// Policies that let calls through let newer ones through as well; a default of ENOSYS says it itself.
    pub(crate) fn lets_newer_through(&self) -> bool {
        let word = self.default.word();
        matches!(word & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000) || word == 0x0005_0026
    }

    pub(crate) fn json(&self) -> Value {
        let rule = |rule: &Rule| {
            let arg = |arg: &Arg| json!({"index": arg.index, "op": OPERATORS[arg.op], "value": arg.value, "valueTwo": arg.second});
            let args: Vec<Value> = rule.args.iter().map(arg).collect();
            let mut json = json!({"names": [rule.name], "action": ACTIONS[rule.answer.0].0, "args": args});
            if let Some(data) = rule.answer.1 {
                json["errnoRet"] = json!(data);
            }
            json
        };
        let rules: Vec<Value> = self.rules.iter().map(rule).collect();
        let mut json =
            json!({"defaultAction": ACTIONS[self.default.0].0, "architectures": self.architectures, "syscalls": rules});
        if let Some(data) = self.default.1 {
            json["defaultErrnoRet"] = json!(data);
        }
        json
    }

    /// Arguments on either side of those that the policy names for a call.
    pub(crate) fn probes(&self, name: &str) -> Vec<[u64; 6]> {
        let mut probes = vec![[0; 6], [u64::MAX; 6]];
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.name == name && !rule.args.is_empty())
        {
            for shift in [0_u64, 1, u64::MAX, 1 << 32, (1_u64 << 32).wrapping_neg()] {
                let mut probe = [0_u64; 6];
                for arg in &rule.args {
                    let value = if arg.op == MASKED { arg.second } else { arg.value };
                    probe[arg.index] = value.wrapping_add(shift);
                }
                probes.push(probe);
                // Only one of several tests fails.
                for arg in &rule.args {
                    let mut other = probe;
                    other[arg.index] ^= 0x1_0000_0001;
                    probes.push(other);
                }
            }
        }
        probes
    }
}

fn answer(random: &mut Random, among: usize) -> Answer {
    let action = random.below(among);
    let data = matches!(ACTIONS[action].0, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE") && !random.one_in(3);
    let codes = [0, 1, 22, 38, 4095];
    Answer(action, data.then(|| codes[random.below(codes.len())]))
}

fn arguments(random: &mut Random, cut: u64, repeat: bool) -> Vec<Arg> {
    let mut args: Vec<Arg> = Vec::new();
    for _ in 0..=random.below(6) {
        let index = random.below(6);
        if !(repeat && random.one_in(8)) && args.iter().any(|arg| arg.index == index) {
            continue;
        }
        let op = random.below(OPERATORS.len());
        let value = random.value() & cut;
        let second = random.value() & cut & if op == MASKED { value } else { 0 };
        args.push(Arg {
            index,
            op,
            value,
            second,
        });
    }
    args
}
