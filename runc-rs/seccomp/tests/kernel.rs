//! Filters in the real kernel. A filter without TSYNC is of one thread: each test loads its own in a thread that ends with it.
#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use oci_spec::runtime::LinuxSeccomp;
use runc_rs_seccomp::{compile, supported_flags};
use rustix::io::Errno;
use rustix::system::sethostname;

mod sys {
    #![allow(unsafe_code)]
    //! `getpid` by the other doors of an x86-64 kernel.

    /// By 32-bit x86's interrupt, number 20. `None` where the kernel has no such door.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn getpid_of_i386() -> i32 {
        let result: i32;
        // SAFETY: the kernel takes the number from eax and returns there; it keeps all other registers but r8 to r11, which are named.
        unsafe {
            core::arch::asm!("int 0x80", inlateout("eax") 20_i32 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        result
    }

    /// By x32's number.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn getpid_of_x32() -> i32 {
        // SAFETY: no arguments.
        let result = unsafe { libc::syscall(libc::SYS_getpid | 0x4000_0000) };
        if result < 0 {
            -std::io::Error::last_os_error().raw_os_error().unwrap()
        } else {
            result as i32
        }
    }
}

fn seccomp(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

/// Loads a policy in a new thread and does something there.
fn under<T: Send + 'static>(
    policy: serde_json::Value,
    act: impl FnOnce(Option<OwnedFd>) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let program = compile(&seccomp(policy)).unwrap();
    thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        act(program.load().unwrap())
    })
}

#[test]
fn an_error_of_each_rule_arrives() {
    let policy = serde_json::json!({
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
        {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
         "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 1, "op": "SCMP_CMP_GE"}]}
    ]});
    let results = under(policy, |listener| {
        assert!(listener.is_none());
        let me = rustix::process::getpid();
        (
            rustix::fs::mkdir("/nope/nope", rustix::fs::Mode::empty()),
            sethostname(b"x"),
            rustix::process::test_kill_process(me),
            rustix::process::kill_process(me, rustix::process::Signal::CONT),
        )
    });
    let (mkdir, hostname, probe, signal) = results.join().unwrap();
    assert_eq!(mkdir.map_err(Errno::raw_os_error), Err(77));
    assert_eq!(hostname, Err(Errno::PERM));
    assert_eq!(probe, Err(Errno::IO));
    assert_eq!(signal, Ok(()));
    // This thread has no filter.
    assert_eq!(
        rustix::fs::mkdir("/nope/nope", rustix::fs::Mode::empty()),
        Err(Errno::NOENT)
    );
}

#[test]
fn a_call_newer_than_the_policy_is_not_implemented() {
    let names: Vec<&str> = runc_rs_seccomp::syscalls::names().filter(|n| *n != "uname").collect();
    let older: Vec<&str> = names
        .into_iter()
        .filter(|n| {
            let table = runc_rs_seccomp::syscalls::Table::native().unwrap();
            runc_rs_seccomp::syscalls::number(n, table).is_some_and(|n| n < 437)
        })
        .collect();
    let policy = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": older, "action": "SCMP_ACT_ALLOW"}]});
    let opened = under(policy, |_| {
        let resolve = rustix::fs::ResolveFlags::empty();
        let flags = rustix::fs::OFlags::PATH;
        rustix::fs::openat2(rustix::fs::CWD, "/", flags, rustix::fs::Mode::empty(), resolve).map(drop)
    });
    assert_eq!(opened.join().unwrap(), Err(Errno::NOSYS));
}

#[test]
fn a_notification_waits_for_its_listener() {
    let policy = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}]});
    let (send, receive): (Sender<OwnedFd>, _) = channel();
    let call = under(policy, move |listener| {
        send.send(listener.unwrap()).unwrap();
        sethostname(b"x")
    });
    let listener = receive.recv().unwrap();
    assert!(
        rustix::io::fcntl_getfd(&listener)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    let mut poll = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    assert!(poll[0].revents().contains(rustix::event::PollFlags::IN));
    // Nobody answers any more: the kernel says that there is no such call.
    drop(listener);
    assert_eq!(call.join().unwrap(), Err(Errno::NOSYS));
}

#[test]
fn this_kernel_has_the_flags() {
    let flags = supported_flags();
    for flag in [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_LOG",
    ] {
        assert!(flags.contains(&flag), "{flag}");
    }
    assert!(runc_rs_seccomp::sys::action_available(0x7fc0_0000));
    assert!(!runc_rs_seccomp::sys::action_available(0x1234_0000));
}

/// A filter that forgets the other doors of the kernel is none: each is answered by the rule, or killed when it is not listed.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_the_doors_of_other_architectures_are_answered_too() {
    let policy = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    let answers = under(policy, |_| {
        (
            rustix::io::fcntl_getfd(std::io::stdin()).is_ok(),
            sys::getpid_of_x32(),
            sys::getpid_of_i386(),
        )
    });
    let (_, x32, i386) = answers.join().unwrap();
    assert_eq!((x32, i386), (-77, -77));
    // Not listed: the thread is killed, without a word to who waits for it. So its number is watched.
    let policy = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    for door in [sys::getpid_of_i386, sys::getpid_of_x32] {
        let (send, receive) = channel();
        drop(under(policy.clone(), move |_| {
            send.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            send.send(door()).unwrap();
        }));
        let thread = receive.recv().unwrap();
        while std::path::Path::new(&format!("/proc/self/task/{thread}")).exists() {
            thread::yield_now();
        }
        assert!(receive.try_recv().is_err(), "the call returned");
    }
}
