use oci_spec::runtime::LinuxSeccompAction;

use super::*;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The rules of a resolved profile that speak of a call.
fn rules<'a>(seccomp: &'a LinuxSeccomp, name: &str) -> Vec<&'a oci_spec::runtime::LinuxSyscall> {
    seccomp
        .syscalls()
        .iter()
        .flatten()
        .filter(|s| s.names().iter().any(|n| n == name))
        .collect()
}

#[test]
fn a_usual_container_makes_no_namespaces() {
    let caps = owned(&crate::caps::DOCKER_DEFAULT);
    let seccomp = default_profile(&Context {
        arch: Arch::ScmpArchX86_64,
        ..Context::native(&caps)
    });
    assert_eq!(seccomp.default_action(), LinuxSeccompAction::ScmpActErrno);
    assert_eq!(seccomp.default_errno_ret(), Some(1));
    assert!(rules(&seccomp, "mount").is_empty());
    assert!(rules(&seccomp, "io_uring_setup").is_empty());
    assert_eq!(rules(&seccomp, "clone3")[0].errno_ret(), Some(38));
    let clone = rules(&seccomp, "clone");
    assert_eq!(clone.len(), 1);
    assert_eq!(clone[0].args().as_ref().unwrap()[0].value(), 0x7e02_0000);
    assert_eq!(clone[0].args().as_ref().unwrap()[0].value_two(), Some(0));
    assert_eq!(rules(&seccomp, "personality").len(), 5);
    assert_eq!(rules(&seccomp, "chroot").len(), 1);
    assert_eq!(rules(&seccomp, "arch_prctl").len(), 1);
    assert_eq!(rules(&seccomp, "ptrace").len(), 1);
    assert_eq!(seccomp.architectures().as_ref().unwrap().len(), 3);
}

#[test]
fn an_administrator_does() {
    let caps = owned(&["CAP_SYS_ADMIN"]);
    let seccomp = default_profile(&Context {
        arch: Arch::ScmpArchAarch64,
        ..Context::native(&caps)
    });
    for name in ["mount", "unshare", "clone", "clone3", "setns"] {
        let rules = rules(&seccomp, name);
        assert_eq!(rules.len(), 1, "{name}");
        assert!(rules[0].args().is_none(), "{name}");
    }
    assert!(rules(&seccomp, "arch_prctl").is_empty());
    assert!(rules(&seccomp, "chroot").is_empty());
}

#[test]
fn no_name_is_listed_twice_in_one_rule() {
    for rule in default::profile().syscalls {
        let mut names = rule.names.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rule.names.len());
    }
}

#[test]
fn profile_files_are_read_as_docker_does() {
    let json = br#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}},
            {"names": ["kexec_load"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}}
        ]}"#;
    let resolve = |caps: &[&str], kernel: (u32, u32)| {
        let caps = owned(caps);
        let kernel = KernelVersion {
            major: kernel.0,
            minor: kernel.1,
        };
        let seccomp = load_profile(
            json,
            &Context {
                capabilities: &caps,
                arch: Arch::ScmpArchX86_64,
                kernel,
            },
        )
        .unwrap();
        let mut names: Vec<String> = seccomp
            .syscalls()
            .iter()
            .flatten()
            .flat_map(|s| s.names().clone())
            .collect();
        names.sort();
        names
    };
    assert_eq!(resolve(&[], (6, 1)), ["mount", "ptrace", "read"]);
    assert_eq!(resolve(&["CAP_BPF"], (4, 7)), ["read"]);
    assert_eq!(
        resolve(&["CAP_BPF", "CAP_SYS_ADMIN"], (4, 8)),
        ["bpf", "ptrace", "read"]
    );
}

#[test]
fn broken_profile_files_are_refused_in_docker_words() {
    let cases = [
        ("", "decoding seccomp profile failed: "),
        ("{} x", "decoding seccomp profile failed: "),
        (
            r#"{"defaultAction": "X"}"#,
            "decoding seccomp profile failed: defaultAction: ",
        ),
        (
            r#"{"syscalls": [{"name": "a", "names": ["b"]}]}"#,
            "both 'name' and 'names'",
        ),
        (
            r#"{"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#,
            "both 'architectures' and 'archMap'",
        ),
        (
            r#"{"syscalls": [{"includes": {"minKernel": "x"}}]}"#,
            "decoding seccomp profile failed: syscalls[0]",
        ),
    ];
    for (json, start) in cases {
        let error = load_profile(json.as_bytes(), &Context::native(&[]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(start), "{json}: {error}");
    }
}
