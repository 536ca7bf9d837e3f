//! Docker's default policy, from the profile of runtime-spec through the compiler of runc-rs-seccomp into the kernel.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;

use engine_tests::programs::{ours, peer};
use runc_rs_seccomp::syscalls::{Table, number};
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
