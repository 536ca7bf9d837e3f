//! Filters in the real kernel. A filter without TSYNC is of one thread: each test loads its own in a thread that ends with it.
#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use oci_spec::runtime::LinuxSeccomp;
use runc_rs_seccomp::{compile, supported_flags};
use rustix::io::Errno;
use rustix::system::sethostname;

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
