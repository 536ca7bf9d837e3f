use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::syscalls::{TABLES, number};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const NOTIFY: u32 = 0x7fc0_0000;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

fn seccomp(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn program(value: Value) -> Program {
    compile_for(&seccomp(value), Table::X86_64).unwrap()
}

fn run(program: &Program, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    crate::evaluate(
        program.instructions(),
        &crate::Call {
            nr,
            arch,
            args,
            instruction_pointer: 0,
        },
    )
    .unwrap()
}

fn call(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    run(
        program,
        Table::X86_64.audit_arch(),
        number(name, Table::X86_64).unwrap(),
        args,
    )
}

const NONE: [u64; 6] = [0; 6];

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

#[test]
fn each_rule_has_its_own_action() {
    let program = program(json!({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
    "syscalls": [
        {"names": ["read", "write", "mseal"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["open"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["close"], "action": "SCMP_ACT_TRAP"},
        {"names": ["stat"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
        {"names": ["fstat"], "action": "SCMP_ACT_LOG"},
        {"names": ["moonwalk"], "action": "SCMP_ACT_ALLOW"}
    ]}));
    assert_eq!(call(&program, "read", NONE), ALLOW);
    assert_eq!(call(&program, "clone3", NONE), errno(38));
    assert_eq!(call(&program, "open", NONE), 0x8000_0000);
    assert_eq!(call(&program, "close", NONE), 0x0003_0000);
    assert_eq!(call(&program, "stat", NONE), 0x7ff0_0007);
    assert_eq!(call(&program, "fstat", NONE), 0x7ffc_0000);
    assert_eq!(call(&program, "lstat", NONE), errno(13));
    assert_eq!(program.unknown_syscalls(), ["moonwalk"]);
}

#[test]
fn calls_newer_than_the_profile_are_not_implemented() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]}));
    assert_eq!(call(&program, "pidfd_getfd", NONE), errno(38));
    assert_eq!(call(&program, "openat2", NONE), ALLOW);
    assert_eq!(call(&program, "close_range", NONE), errno(1));
    let x86_64 = Table::X86_64.audit_arch();
    assert_eq!(run(&program, x86_64, X32_BIT | 1, NONE), errno(38));
    assert_eq!(run(&program, x86_64, u32::MAX, NONE), errno(38));
    for permissive in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let rules = json!([{"names": ["openat2"], "action": "SCMP_ACT_TRAP"}]);
        let program = super::tests::program(json!({"defaultAction": permissive, "syscalls": rules}));
        assert_ne!(call(&program, "listns", NONE), errno(38), "{permissive}");
    }
}

#[test]
fn architectures_are_told_apart() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_S390X"],
        "syscalls": [{"names": ["execve", "set_tls", "process_vm_readv"], "action": "SCMP_ACT_ALLOW"}]}));
    for table in TABLES {
        let verdict = |nr| run(&program, table.audit_arch(), nr, NONE);
        assert_eq!(verdict(number("execve", table).unwrap()), ALLOW, "{table:?}");
        assert_eq!(verdict(number("getpid", table).unwrap()), errno(1), "{table:?}");
        // x32's own calls end at 547, above the shared ones.
        let newer = if table == Table::X32 {
            X32_BIT | 548
        } else {
            number("mseal", table).unwrap()
        };
        assert_eq!(verdict(newer), errno(38), "{table:?}");
    }
    assert_eq!(run(&program, Table::Arm.audit_arch(), 0xf0005, NONE), ALLOW);
    assert_eq!(run(&program, Table::Arm.audit_arch(), 0xf0002, NONE), errno(1));
    assert_eq!(run(&program, 0x8000_0016, 11, NONE), KILL);
    assert_eq!(program.foreign_architectures(), [Arch::ScmpArchS390x]);
}

#[test]
fn without_x32_its_calls_are_killed_but_a_skipped_call_is_not() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}]}));
    let x86_64 = Table::X86_64.audit_arch();
    assert_eq!(run(&program, x86_64, X32_BIT | 520, NONE), KILL);
    assert_eq!(run(&program, x86_64, u32::MAX, NONE), ALLOW);
    assert_eq!(run(&program, Table::X86.audit_arch(), 11, NONE), KILL);
}

#[test]
fn rules_for_one_call_are_merged() {
    let rule = |args: Value, action: &str| json!({"names": ["personality"], "action": action, "args": args});
    let eq = |value: u64| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
    let allow = "SCMP_ACT_ALLOW";
    let of = |rules: Value| program(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
    let either = of(json!([rule(eq(0), allow), rule(eq(8), allow), rule(eq(8), allow)]));
    let verdicts = [0, 8, 9, 8 << 32].map(|v| call(&either, "personality", first(v)));
    assert_eq!(verdicts, [ALLOW, ALLOW, errno(1), errno(1)]);
    // Without arguments wins, wherever it stands.
    for rules in [
        json!([rule(eq(0), allow), rule(json!([]), "SCMP_ACT_LOG")]),
        json!([rule(json!([]), "SCMP_ACT_LOG"), rule(eq(0), allow)]),
    ] {
        assert_eq!(call(&of(rules), "personality", NONE), 0x7ffc_0000);
    }
    // The same argument twice: either.
    let twice = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]);
    let twice = of(json!([rule(twice, allow)]));
    assert_eq!(
        [1, 2, 3].map(|v| call(&twice, "personality", first(v))),
        [ALLOW, ALLOW, errno(1)]
    );
    // What the default says is no rule.
    let redundant = of(json!([rule(json!([]), "SCMP_ACT_ERRNO"), rule(eq(0), allow)]));
    assert_eq!(call(&redundant, "personality", NONE), ALLOW);
}

#[test]
fn narrow_architectures_compare_the_low_half() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0xffff_ffff_ffff_ffff_u64, "op": "SCMP_CMP_EQ"}]}]}));
    let x86 = Table::X86;
    assert_eq!(
        run(
            &program,
            x86.audit_arch(),
            number("personality", x86).unwrap(),
            first(0xffff_ffff)
        ),
        ALLOW
    );
    assert_eq!(call(&program, "personality", first(0xffff_ffff)), errno(1));
}

#[test]
fn notification() {
    let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
    let notifying = program(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [rule]}));
    assert_eq!(call(&notifying, "mkdir", NONE), NOTIFY);
    assert!(notifying.has_listener());
    assert_eq!(notifying.flags(), 1 << 3 | 1 << 5);
    let error = |value: Value| compile_for(&seccomp(value), Table::X86_64).unwrap_err();
    assert_eq!(error(json!({"defaultAction": "SCMP_ACT_NOTIFY"})), Error::NotifyDefault);
    let write = json!([{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]);
    assert_eq!(
        error(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": write})),
        Error::NotifyWrite(0)
    );
}

#[test]
fn refusals_name_the_field() {
    let error = |value: Value| compile_for(&seccomp(value), Table::X86_64).unwrap_err().to_string();
    let rule =
        json!([{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]);
    let text = error(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule}));
    assert_eq!(
        text,
        "linux.seccomp.syscalls[0].args[0].index: 6 is not in range 0 to 5"
    );
    let text = error(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}));
    assert_eq!(text, "linux.seccomp.defaultErrnoRet: 70000 is not an error number");
    let names: Vec<Value> = (0..4000_u32)
        .map(|v| json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    assert!(error(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": names})).contains("the kernel takes 4096"));
}

#[test]
fn flags() {
    let flags = |value: Value| program(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": value})).flags();
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(
        flags(json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"])),
        3
    );
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
}

/// The meaning of the tests, said plainly.
fn holds(op: &str, arg: u64, value: u64, two: u64) -> bool {
    match op {
        "SCMP_CMP_NE" => arg != value,
        "SCMP_CMP_LT" => arg < value,
        "SCMP_CMP_LE" => arg <= value,
        "SCMP_CMP_EQ" => arg == value,
        "SCMP_CMP_GE" => arg >= value,
        "SCMP_CMP_GT" => arg > value,
        _ => arg & value == two,
    }
}

fn interesting() -> impl Strategy<Value = u64> {
    let edges = [
        0,
        1,
        2,
        0xffff_fffe,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![prop::sample::select(edges.to_vec()), any::<u64>()]
}

const OPS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operator_means_what_it_says(
        tests in prop::collection::vec((prop::sample::select(OPS.to_vec()), interesting(), interesting()), 1..6),
        args in prop::array::uniform6(interesting()),
    ) {
        let list: Vec<Value> = tests.iter().enumerate()
            .map(|(i, (op, value, two))| json!({"index": i, "value": value, "valueTwo": two, "op": op})).collect();
        let program = program(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_TRAP", "args": list}]}));
        let all = tests.iter().enumerate().all(|(i, (op, value, two))| holds(op, args[i], *value, *two));
        let expected = if all { 0x0003_0000 } else { ALLOW };
        prop_assert_eq!(call(&program, "ioctl", args), expected);
    }

    #[test]
    fn any_set_of_calls_gets_its_answers(numbers in prop::collection::btree_set(0_usize..480, 1..300), probe in any::<prop::sample::Index>()) {
        let known: Vec<&str> = crate::syscalls::names().collect();
        let pick = |i: &usize| known[*i % known.len()];
        let list: Vec<&str> = numbers.iter().map(pick).collect();
        let program = program(json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": list, "action": "SCMP_ACT_ALLOW"}]}));
        for table in [Table::X86_64, Table::X86, Table::X32] {
            let of = |n: &&str| number(n, table);
            let Some(last) = list.iter().filter_map(of).max() else { continue };
            let name = known[probe.index(known.len())];
            let Some(nr) = number(name, table) else { continue };
            let expected = if list.contains(&name) { ALLOW } else if nr > last { errno(38) } else { 0x8000_0000 };
            prop_assert_eq!(run(&program, table.audit_arch(), nr, NONE), expected, "{} on {:?}", name, table);
        }
    }
}
