//! Our filters against libseccomp's (2.5.4), for the same random policies: every call of every architecture, with arguments around the
//! values that the policies speak of, must get the same answer. `libseccomp.py` made the other side.
#![allow(clippy::unwrap_used)]

use oci_spec::runtime::LinuxSeccomp;
use runc_rs_seccomp::syscalls::{TABLES, Table, X32_BIT, names, number};
use runc_rs_seccomp::{Call, Insn, compile_for, evaluate};
use serde_json::Value;

fn instructions(hex: &str) -> Vec<Insn> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let insn = |b: &[u8]| Insn {
        code: u16::from_le_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    };
    bytes.chunks_exact(8).map(insn).collect()
}

/// Values on either side of those that a policy names.
fn probes(policy: &Value, name: &str) -> Vec<[u64; 6]> {
    let mut probes = vec![[0; 6], [u64::MAX; 6]];
    let rules = policy["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["names"][0] == name);
    for args in rules.filter_map(|r| r.get("args")) {
        let args = args.as_array().unwrap();
        for shift in [0_u64, 1, u64::MAX, 1 << 32, (1_u64 << 32).wrapping_neg()] {
            for field in ["value", "valueTwo"] {
                let mut probe = [0_u64; 6];
                for arg in args {
                    let masked = arg["op"] == "SCMP_CMP_MASKED_EQ";
                    let of = if masked { "valueTwo" } else { field };
                    let value = arg[of].as_u64().unwrap();
                    probe[arg["index"].as_u64().unwrap() as usize] = value.wrapping_add(shift);
                }
                probes.push(probe);
                // Only one of several tests fails.
                for arg in args {
                    let mut other = probe;
                    other[arg["index"].as_u64().unwrap() as usize] ^= 0x1_0000_0001;
                    probes.push(other);
                }
            }
        }
    }
    probes
}

/// Whether ours answers ENOSYS on purpose: libseccomp does not do that, runc puts it in front.
fn newer(policy: &Value, table: Table, nr: u32) -> bool {
    let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"].contains(&policy["defaultAction"].as_str().unwrap());
    let rules = policy["syscalls"].as_array().unwrap().iter();
    let last = rules
        .filter_map(|r| number(r["names"][0].as_str().unwrap(), table))
        .max();
    !permissive && last.is_some_and(|last| nr > last)
}

#[test]
fn the_same_answers_as_libseccomp() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("libseccomp.json")).unwrap();
    let mut asked = 0_u64;
    for case in &cases {
        let policy = &case["policy"];
        let theirs = instructions(case["bpf"].as_str().unwrap());
        let mut ours: LinuxSeccomp = serde_json::from_value(policy.clone()).unwrap();
        ours.set_flags(Some(Vec::new()));
        let ours = compile_for(&ours, Table::X86_64).unwrap();
        let x32 = policy["architectures"]
            .as_array()
            .unwrap()
            .iter()
            .any(|a| a == "SCMP_ARCH_X32");
        for table in TABLES {
            for name in names() {
                let Some(nr) = number(name, table) else { continue };
                if newer(policy, table, nr) || (nr & X32_BIT != 0 && !x32 && newer(policy, Table::X86_64, nr)) {
                    continue;
                }
                for args in probes(policy, name) {
                    // The kernel fills narrow calls' arguments with 32 bits.
                    let args = if table.is_64() || table == Table::X32 {
                        args
                    } else {
                        args.map(|a| a & 0xffff_ffff)
                    };
                    let call = Call {
                        nr,
                        arch: table.audit_arch(),
                        instruction_pointer: 0,
                        args,
                    };
                    asked += 1;
                    let (expected, got) = (evaluate(&theirs, &call), evaluate(ours.instructions(), &call));
                    assert_eq!(got, expected, "{name} {args:x?} on {table:?} under {policy}");
                }
            }
        }
    }
    assert!(asked > 100_000, "{asked}");
}
