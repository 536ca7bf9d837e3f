//! Docker's default policy, from the profile of runtime-spec through the compiler of runc-rs-seccomp into the kernel.
#![allow(clippy::unwrap_used)]

#[path = "../../runc-rs/seccomp/tests/libseccomp/policy.rs"]
#[allow(dead_code)]
mod policy;
#[path = "../../runc-rs/seccomp/tests/libseccomp/sys.rs"]
mod sys;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;

use engine_tests::programs::{ours, peer};
use runc_rs_seccomp::syscalls::{Table, X32_BIT, number};
use runc_rs_seccomp::{Call, Program, compile, evaluate};
use runtime_spec::caps;
use runtime_spec::seccomp::{Context, default_profile};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

fn program(capabilities: &[&str]) -> Program {
    let capabilities: Vec<String> = capabilities.iter().map(|c| (*c).to_owned()).collect();
    compile(&default_profile(&Context::native(&capabilities))).unwrap()
}

fn answer(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    let table = Table::native().unwrap();
    let nr = number(name, table).unwrap();
    let call = Call {
        nr,
        arch: table.audit_arch(),
        instruction_pointer: 0,
        args,
    };
    evaluate(program.instructions(), &call).unwrap()
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

#[test]
fn the_filter_of_a_usual_container_is_short_and_says_what_docker_says() {
    let usual = program(&caps::DOCKER_DEFAULT);
    assert!(usual.instructions().len() < 1000, "{}", usual.instructions().len());
    let none = [0; 6];
    for (name, args, expected) in [
        ("read", none, ALLOW),
        ("chroot", none, ALLOW),
        ("ptrace", none, ALLOW),
        ("mount", none, EPERM),
        ("unshare", none, EPERM),
        ("bpf", none, EPERM),
        ("io_uring_setup", none, EPERM),
        ("keyctl", none, EPERM),
        ("clone3", none, ENOSYS),
        ("clone", [0x11, 0, 0, 0, 0, 0], ALLOW),
        ("clone", [0x1000_0011, 0, 0, 0, 0, 0], EPERM),
        ("socket", [1, 0, 0, 0, 0, 0], ALLOW),
        ("socket", [40, 0, 0, 0, 0, 0], EPERM),
        ("personality", [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
        ("personality", [0x0040_0000, 0, 0, 0, 0, 0], EPERM),
        ("file_setattr", none, ENOSYS),
    ] {
        assert_eq!(answer(&usual, name, args), expected, "{name} {args:x?}");
    }
    let admin = program(&["CAP_SYS_ADMIN"]);
    for name in ["mount", "unshare", "clone3", "bpf", "setns"] {
        assert_eq!(answer(&admin, name, [u64::MAX; 6]), ALLOW, "{name}");
    }
}

#[test]
fn the_kernel_takes_it_and_an_ordinary_thread_lives_under_it() {
    let program = program(&caps::DOCKER_DEFAULT);
    let lived = thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        let listener: Option<OwnedFd> = program.load().unwrap();
        assert!(listener.is_none());
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let vsock = socket(AddressFamily::VSOCK, SocketType::STREAM, None).map(drop);
        let unix = socket(AddressFamily::UNIX, SocketType::STREAM, None).map(drop);
        let mount = rustix::mount::unmount("/nope", rustix::mount::UnmountFlags::empty());
        let nested = thread::spawn(|| 7).join().unwrap();
        (text.contains("Seccomp:\t2"), vsock, unix, mount, nested)
    });
    let (filtered, vsock, unix, mount, nested) = lived.join().unwrap();
    assert!(filtered);
    assert_eq!((vsock, unix), (Err(Errno::PERM), Ok(())));
    assert_eq!(mount, Err(Errno::PERM));
    assert_eq!(nested, 7);
}

/// What a container finds that it may do: the mode of its filter, and how each attempt ends.
const INSIDE: &str = "
grep Seccomp: /proc/self/status
unshare -U true; echo unshare $?
mount -t tmpfs none /tmp; echo mount $?
chroot / true; echo chroot $?
(echo child); echo fork $?
";

/// A bundle with the default policy as its filter. It has the capabilities that the attempts need, so that it is the filter that refuses.
fn bundle(directory: &Path) {
    let bin = directory.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["proc", "tmp", "dev", "sys"] {
        fs::create_dir(directory.join("rootfs").join(name)).unwrap();
    }
    fs::copy(peer("busybox"), bin.join("busybox")).unwrap();
    for applet in ["sh", "grep", "unshare", "mount", "chroot", "true"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    let mut spec = runtime_spec::default::default_spec(runtime_spec::default::Options::default()).unwrap();
    let capabilities: Vec<String> = caps::DOCKER_DEFAULT.iter().map(|c| (*c).to_owned()).collect();
    let filter = default_profile(&Context::native(&capabilities));
    spec.linux_mut().as_mut().unwrap().set_seccomp(Some(filter));
    let process = spec.process_mut().as_mut().unwrap();
    let held = [&caps::DOCKER_DEFAULT[..], &["CAP_SYS_ADMIN"]].concat();
    process
        .set_terminal(Some(false))
        .set_args(Some(["sh", "-c", INSIDE].map(str::to_owned).to_vec()))
        .set_capabilities(Some(caps::process(&held, false)));
    fs::write(directory.join("config.json"), serde_json::to_string(&spec).unwrap()).unwrap();
}

#[test]
fn the_same_is_refused_under_runc_and_under_ours() {
    let directory = tempfile::tempdir().unwrap();
    bundle(directory.path());
    let run = |runtime: &Path, id: &str| {
        let output = Command::new(runtime)
            .arg("--root")
            .arg(directory.path().join(id))
            .args(["run", id])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let id = |name: &str| format!("seccomp-{name}-{}", std::process::id());
    let theirs = run(&peer("runc"), &id("runc"));
    assert_eq!(theirs, "Seccomp:\t2\nunshare 1\nmount 1\nchroot 0\nchild\nfork 0\n");
    assert_eq!(run(&ours("runc-rs"), &id("ours")), theirs);
}

/// The profile in the form that the comparison with libseccomp has.
fn as_policy(profile: &runtime_spec::oci::LinuxSeccomp) -> policy::Policy {
    let place = |text: String| {
        let known =
            |(name, _): &(&str, u32)| *name == text || (text == "SCMP_ACT_KILL" && *name == "SCMP_ACT_KILL_THREAD");
        policy::ACTIONS.iter().position(known).unwrap()
    };
    let text = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let json = serde_json::to_value(profile).unwrap();
    let answer = |action: &serde_json::Value, data: &serde_json::Value| {
        policy::Answer(
            place(text(action.clone())),
            data.as_u64().map(|data| u32::try_from(data).unwrap()),
        )
    };
    let mut rules = Vec::new();
    for rule in json["syscalls"].as_array().unwrap() {
        for name in rule["names"].as_array().unwrap() {
            let Some(name) = runc_rs_seccomp::syscalls::names().find(|known| name == known) else {
                continue;
            };
            let arg = |arg: &serde_json::Value| policy::Arg {
                index: usize::try_from(arg["index"].as_u64().unwrap()).unwrap(),
                op: policy::OPERATORS.iter().position(|op| arg["op"] == *op).unwrap(),
                value: arg["value"].as_u64().unwrap(),
                second: arg["valueTwo"].as_u64().unwrap_or(0),
            };
            let args = rule["args"].as_array().into_iter().flatten().map(arg).collect();
            rules.push(policy::Rule {
                name,
                answer: answer(&rule["action"], &rule["errnoRet"]),
                args,
            });
        }
    }
    policy::Policy {
        default: answer(&json["defaultAction"], &json["defaultErrnoRet"]),
        architectures: vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        rules,
    }
}

#[test]
fn libseccomp_gives_the_same_answers() {
    let library = sys::Library::open();
    let mut asked = 0;
    for capabilities in [
        &caps::DOCKER_DEFAULT[..],
        &[],
        &["CAP_SYS_ADMIN"],
        &["CAP_SYS_MODULE", "CAP_BPF", "CAP_SYS_PTRACE"],
    ] {
        let names: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let profile = default_profile(&Context::native(&names));
        let policy = as_policy(&profile);
        let theirs = library.compile(&policy).expect("libseccomp takes Docker's profile");
        let ours = compile(&profile).unwrap();
        for table in [Table::X86_64, Table::X86, Table::X32] {
            let newest = policy.rules.iter().filter_map(|rule| number(rule.name, table)).max();
            for name in runc_rs_seccomp::syscalls::names() {
                // libseccomp reaches into x86's multiplexed calls, ours are calls like any other.
                let multiplexed = table == Table::X86
                    && policy::MULTIPLEXED
                        .split(' ')
                        .chain(["socketcall", "ipc"])
                        .any(|other| other == name);
                // What is newer than the profile is ENOSYS in ours, as in runc.
                // Debian's libseccomp knows Linux 5.17.
                let common = |nr: &u32| Some(*nr) <= newest && nr & !X32_BIT < 450 && library.knows(name);
                let Some(nr) = number(name, table).filter(|nr| !multiplexed && common(nr)) else {
                    continue;
                };
                for args in policy.probes(name) {
                    let args = if table == Table::X86 {
                        args.map(|arg| arg & 0xffff_ffff)
                    } else {
                        args
                    };
                    let call = Call {
                        nr,
                        arch: table.audit_arch(),
                        instruction_pointer: 0,
                        args,
                    };
                    asked += 1;
                    let (expected, got) = (evaluate(&theirs, &call), evaluate(ours.instructions(), &call));
                    assert_eq!(got, expected, "{name} {args:x?} on {table:?} with {capabilities:?}");
                }
            }
        }
    }
    assert!(asked > 5_000, "{asked}");
}
