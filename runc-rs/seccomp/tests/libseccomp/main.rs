//! Our filters against libseccomp's, for the same random policies: every call of every architecture, with arguments around the values that the
//! policies speak of, must get the same answer. And against a reading of the policy that compiles nothing, for shapes beyond libseccomp too.
//!
//! `SECCOMP_CASES` is how many policies of each kind (200), `SECCOMP_SEED` where they start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod policy;
mod reading;
mod sys;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use oci_spec::runtime::LinuxSeccomp;
use policy::{Kind, Policy, Random};
use runc_rs_seccomp::syscalls::{TABLES, Table, X32_BIT, names, number};
use runc_rs_seccomp::{Call, Insn, compile_for, evaluate};

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs `check` with the numbers of all cases, on all processors. Gives the sum of what it returns.
fn cases(check: impl Fn(u64) -> u64 + Sync) -> u64 {
    let (first, count) = (variable("SECCOMP_SEED", 1), variable("SECCOMP_CASES", 200));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    std::thread::scope(|scope| {
        let check = &check;
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let mine = (first..first + count).filter(move |case| case % threads == part);
                scope.spawn(move || mine.map(check).sum::<u64>())
            })
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    })
}

/// Whether ours answers ENOSYS on purpose: libseccomp does not do that, runc puts it in front.
fn newer(policy: &Policy, table: Table, nr: u32) -> bool {
    let last = policy.rules.iter().filter_map(|rule| number(rule.name, table)).max();
    !policy.lets_newer_through() && last.is_some_and(|last| nr > last)
}

fn compiled(policy: &Policy) -> Vec<Insn> {
    let mut ours: LinuxSeccomp = serde_json::from_value(policy.json()).unwrap();
    ours.set_flags(Some(Vec::new()));
    compile_for(&ours, Table::X86_64).unwrap().instructions().to_vec()
}

/// Asks `expected` about every call that a policy can tell apart, with its arguments, and compares ours.
fn compare(policy: &Policy, case: u64, expected: impl Fn(&Call, &str, Table) -> Option<u32>) -> u64 {
    let ours = compiled(policy);
    let x32 = policy.architectures.contains(&"SCMP_ARCH_X32");
    let mut asked = 0;
    for table in TABLES {
        for name in names() {
            let Some(nr) = number(name, table) else { continue };
            if newer(policy, table, nr) || (nr & X32_BIT != 0 && !x32 && newer(policy, Table::X86_64, nr)) {
                continue;
            }
            for args in policy.probes(name) {
                // The kernel fills narrow calls' arguments with 32 bits.
                let wide = table.is_64() || table == Table::X32;
                let args = if wide { args } else { args.map(|a| a & 0xffff_ffff) };
                let arch = table.audit_arch();
                let call = Call {
                    nr,
                    arch,
                    instruction_pointer: 0,
                    args,
                };
                let Some(expected) = expected(&call, name, table) else {
                    continue;
                };
                asked += 1;
                let got = evaluate(&ours, &call);
                assert_eq!(
                    got,
                    Some(expected),
                    "case {case}: {name} {args:x?} on {table:?} under {}",
                    policy.json()
                );
            }
        }
    }
    asked
}

#[test]
fn the_same_answers_as_libseccomp() {
    let library = sys::Library::open();
    let contradictions = AtomicU64::new(0);
    let asked = cases(|case| {
        let policy = Policy::random(&mut Random::new(case), Kind::Disjoint);
        // From some policies libseccomp never comes back, and some it refuses.
        let Some(theirs) = library.compile(&policy) else {
            return 0;
        };
        compare(&policy, case, |call, name, table| {
            let answer = evaluate(&theirs, call);
            // With several architectures libseccomp 2.5.4 now and then contradicts itself: the same call gets another answer on one of them.
            // There the one that the policy gives counts.
            let twin = TABLES
                .into_iter()
                .filter(|other| *other != table && other.is_64() == table.is_64())
                .filter_map(|other| Some((other, number(name, other)?)))
                .find(|(other, nr)| {
                    let arch = other.audit_arch();
                    let said = evaluate(&theirs, &Call { nr: *nr, arch, ..*call });
                    said != answer && said == reading::answer(&policy, call, name, table)
                });
            if twin.is_some() {
                contradictions.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            answer
        })
    });
    let contradictions = contradictions.into_inner();
    println!("{asked} answers compared, {contradictions} where libseccomp contradicts itself");
    assert!(
        asked > 1_000 && contradictions < 20 + asked / 5_000,
        "{asked} {contradictions}"
    );
}

#[test]
fn the_same_answers_as_a_reading_of_the_policy() {
    let asked = cases(|case| {
        let policy = Policy::random(&mut Random::new(case), Kind::Any);
        compare(&policy, case, |call, name, table| {
            reading::answer(&policy, call, name, table)
        })
    });
    assert!(asked > 1_000, "{asked}");
}
