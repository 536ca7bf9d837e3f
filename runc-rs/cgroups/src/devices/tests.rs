use LinuxDeviceType::{A, B, C};
use proptest::prelude::*;

use super::*;

fn deny_all() -> LinuxDeviceCgroup {
    rule(false, A, None, None, "rwm")
}

#[test]
fn the_lists_of_a_usual_container() {
    let mut rules = vec![deny_all()];
    rules.extend(default_rules());
    let writes = writes_v1(&fold(&rules).unwrap());
    assert_eq!(writes[0], ("devices.deny", "a".to_owned()));
    assert_eq!(writes[1], ("devices.allow", "c *:* m".to_owned()));
    assert!(writes.contains(&("devices.allow", "c 136:* rwm".to_owned())));
    assert_eq!(writes.len(), 11);
}

#[test]
fn later_rules_win() {
    let rules = [
        deny_all(),
        rule(true, C, Some(1), Some(3), "rwm"),
        rule(false, C, Some(1), Some(3), "w"),
    ];
    assert_eq!(
        writes_v1(&fold(&rules).unwrap())[1],
        ("devices.allow", "c 1:3 rm".to_owned())
    );
    let rules = [deny_all(), rule(true, C, Some(1), None, "rwm"), deny_all()];
    assert_eq!(writes_v1(&fold(&rules).unwrap()).len(), 1);
    let rules = [rule(true, A, None, None, ""), rule(false, B, Some(8), Some(0), "")];
    let policy = fold(&rules).unwrap();
    assert!(policy.allow);
    assert_eq!(writes_v1(&policy)[1], ("devices.deny", "b 8:0 rwm".to_owned()));
}

#[test]
fn a_hole_in_a_wider_rule_is_refused() {
    let rules = [
        deny_all(),
        rule(true, C, Some(1), None, "rwm"),
        rule(false, C, Some(1), Some(3), "r"),
    ];
    let text = fold(&rules).unwrap_err().to_string();
    let words = "requested rule [c 1:3 r] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [c 1:* rwm])";
    assert!(text.ends_with(words), "{text}");
}

#[test]
fn malformed_rules_are_refused() {
    assert!(fold(&[rule(true, C, Some(-2), None, "r")]).is_err());
    assert!(fold(&[rule(true, C, Some(1 << 33), None, "r")]).is_err());
    assert!(fold(&[rule(true, C, None, None, "x")]).is_err());
}

#[test]
fn an_update_takes_nothing_away_that_stays() {
    let policy = fold(&[
        deny_all(),
        rule(true, C, Some(1), Some(3), "r"),
        rule(true, C, Some(1), Some(5), "rwm"),
    ])
    .unwrap();
    let writes = changes_v1("c 1:3 rwm\nc 1:5 rwm\nc 5:0 rw\n", &policy);
    let expected = [
        ("devices.allow", "c 1:3 r"),
        ("devices.deny", "c 1:3 rwm"),
        ("devices.allow", "c 1:3 r"),
        ("devices.deny", "c 5:0 rw"),
    ];
    assert_eq!(writes, expected.map(|(f, v)| (f, v.to_owned())));
    assert!(changes_v1("c 1:3 r\nc 1:5 rwm\n", &policy).is_empty());
    assert_eq!(changes_v1("a *:* rwm\n", &policy)[0], ("devices.deny", "a".to_owned()));
}

/// What the kernel's interpreter does with the instructions that are used.
fn run(code: &[Insn], block: bool, access: u8, major: u32, minor: u32) -> bool {
    let context = [u32::from(access) << 16 | if block { 1 } else { 2 }, major, minor];
    let mut r = [0_u32; 11];
    let mut pc = 0_usize;
    loop {
        let i = code[pc];
        let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let immediate = i.immediate.cast_unsigned();
        pc += 1;
        let jump = match i.code {
            0x61 => {
                r[dst] = context[usize::try_from(i.offset).unwrap() / 4];
                false
            }
            0xb7 => {
                r[dst] = immediate;
                false
            }
            0xbc => {
                r[dst] = r[src];
                false
            }
            0x54 => {
                r[dst] &= immediate;
                false
            }
            0x74 => {
                r[dst] >>= immediate;
                false
            }
            0x56 => r[dst] != immediate,
            0x5e => r[dst] != r[src],
            0x16 => r[dst] == immediate,
            0x95 => return r[0] != 0,
            other => panic!("instruction {other:#x}"),
        };
        if jump {
            pc += usize::try_from(i.offset).unwrap();
        }
    }
}

#[test]
fn the_program_decides_as_the_policy_says() {
    let mut rules = vec![deny_all()];
    rules.extend(default_rules());
    rules.push(rule(true, B, Some(8), None, "r"));
    rules.push(rule(true, C, Some(4_294_967_295), Some(4_000_000_000), "rwm"));
    let code = program(&fold(&rules).unwrap());
    let cases = [
        (false, 6, 1, 3, true),
        (false, 1, 99, 99, true),
        (false, 2, 99, 99, false),
        (false, 3, 99, 99, false),
        (true, 1, 1, 3, true),
        (true, 2, 1, 3, false),
        (true, 2, 8, 77, true),
        (true, 6, 8, 77, false),
        (false, 7, 136, 12345, true),
        (false, 7, u32::MAX, 4_000_000_000, true),
        (false, 7, u32::MAX, 1, false),
    ];
    for (block, access, major, minor, verdict) in cases {
        assert_eq!(
            run(&code, block, access, major, minor),
            verdict,
            "{block} {access} {major}:{minor}"
        );
    }
    let code = program(&fold(&[rule(true, A, None, None, ""), rule(false, B, Some(8), Some(0), "w")]).unwrap());
    assert!(run(&code, true, 2, 8, 0));
    assert!(!run(&code, true, 6, 8, 0));
    assert!(run(&code, true, 6, 8, 1));
}

fn any_rule() -> impl Strategy<Value = LinuxDeviceCgroup> {
    let kind = prop::sample::select(vec![A, B, C, C, C]);
    let number = || prop::sample::select(vec![None, Some(1_i64), Some(2)]);
    let access = prop::sample::select(vec!["r", "w", "m", "rw", "rwm"]);
    (any::<bool>(), kind, number(), number(), access).prop_map(|(allow, kind, major, minor, access)| match kind {
        A => rule(allow, A, None, None, "rwm"),
        kind => rule(allow, kind, major, minor, access),
    })
}

/// The last rule that speaks of an access decides.
fn decide(rules: &[LinuxDeviceCgroup], block: bool, bit: char, major: i64, minor: i64) -> bool {
    let speaks = |r: &&LinuxDeviceCgroup| {
        let within = |n: Option<i64>, of: i64| n.is_none_or(|n| n == of);
        let kind = r.typ() == Some(if block { B } else { C });
        let access = r.access().as_ref().is_some_and(|a| a.contains(bit));
        r.typ() == Some(A) || (kind && within(r.major(), major) && within(r.minor(), minor) && access)
    };
    rules.iter().rev().find(speaks).is_some_and(LinuxDeviceCgroup::allow)
}

/// Found by the property below: "c 1:*" and "c *:1" have "c 1:1" in common, though neither covers the other.
#[test]
fn a_rule_that_crosses_an_earlier_one_is_refused() {
    let rules = [rule(true, C, Some(1), None, "m"), rule(false, C, None, Some(1), "m")];
    assert!(fold(&rules).unwrap_err().to_string().contains("cannot punch hole"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_last_rule_wins_in_every_form(rules in prop::collection::vec(any_rule(), 0..8)) {
        let Ok(policy) = fold(&rules) else { return Ok(()) };
        let code = program(&policy);
        for block in [false, true] {
            for (bit, access) in [('m', 1), ('r', 2), ('w', 4)] {
                for (major, minor) in [(1, 1), (1, 2), (2, 1), (3, 3)] {
                    let expected = decide(&rules, block, bit, major.into(), minor.into());
                    prop_assert_eq!(run(&code, block, access, major, minor), expected, "{} {} {}:{}", block, bit, major, minor);
                }
            }
        }
    }
}
