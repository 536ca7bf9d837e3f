//! Policies: what compiles is a program that the kernel takes, and every call has an answer.

use oci_spec::runtime::LinuxSeccomp;
use runc_rs_seccomp::syscalls::{TABLES, Table, number};
use runc_rs_seccomp::{Call, Insn, compile_for, evaluate};

/// The longest program (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
/// Class bits of an instruction's code, and those of interest (linux/bpf_common.h).
const CLASS: u16 = 0x07;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
/// `BPF_LD | BPF_W | BPF_ABS`.
const LD_ABS: u16 = 0x20;
/// `sizeof(struct seccomp_data)`.
const DATA: u32 = 64;

/// An OCI policy, or a profile in Docker's form.
pub(crate) fn policy(data: &[u8]) {
    if let Ok(policy) = serde_json::from_slice::<LinuxSeccomp>(data) {
        compile(&policy);
    }
    let capabilities = ["CAP_SYS_ADMIN".to_owned()];
    for capabilities in [&capabilities[..], &[]] {
        let context = runtime_spec::seccomp::Context::native(capabilities);
        if let Ok(policy) = runtime_spec::seccomp::load_profile(data, &context) {
            compile(&policy);
        }
    }
}

fn compile(policy: &LinuxSeccomp) {
    for native in [Table::X86_64, Table::Aarch64] {
        // Too long, or asks for what there is not: a refusal.
        let Ok(program) = compile_for(policy, native) else {
            continue;
        };
        check(program.instructions());
        for table in TABLES {
            for name in ["read", "clone", "socket", "personality", "openat2"] {
                let Some(nr) = number(name, table) else { continue };
                for args in [[0; 6], [u64::MAX; 6], [1, 2, 3, 4, 5, 1 << 40]] {
                    let arch = table.audit_arch();
                    let call = Call {
                        nr,
                        arch,
                        instruction_pointer: 0,
                        args,
                    };
                    assert!(
                        evaluate(program.instructions(), &call).is_some(),
                        "no answer to {call:?}"
                    );
                }
            }
        }
    }
}

/// The kernel's rules (`bpf_check_classic`, `seccomp_check_filter`): length, jumps that stay inside, loads that stay inside, a return at the end.
fn check(program: &[Insn]) {
    assert!(!program.is_empty() && program.len() <= MAX_INSTRUCTIONS);
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match insn.code & CLASS {
            // BPF_JA jumps by k, the others by jt or jf.
            JMP if insn.code == JMP => assert!((insn.k as usize) < left),
            JMP => assert!(usize::from(insn.jt.max(insn.jf)) < left),
            _ if insn.code == LD_ABS => assert!(insn.k < DATA && insn.k.is_multiple_of(4)),
            _ => {}
        }
    }
    assert!(program.last().is_some_and(|last| last.code & CLASS == RET));
}
