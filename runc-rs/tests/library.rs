//! The library inside a program with many threads: the container's process is the caller's child, descriptors are handed over,
//! and threads that allocate do not disturb the fork.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Bundle;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use runc_rs::{CreateOptions, Error, ExecOptions, Io, Runtime, Status};
use serde_json::json;

fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

fn output() -> (File, Io) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (
        File::from(read),
        Io::Fds {
            stdin: null(),
            stdout: write,
            stderr: null(),
        },
    )
}

fn read_all(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn exit_code(pid: i32) -> i32 {
    match waitpid(Pid::from_raw(pid), None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_with_the_callers_descriptors() {
    let mut bundle = Bundle::new();
    bundle.script("echo from inside; exit 9");
    bundle.write_config();
    let runtime = Runtime::new(bundle.state_root());
    let (out, io) = output();
    let mut options = CreateOptions::new(bundle.dir.path());
    options.io = io;
    let created = runtime.create(&bundle.id, options).unwrap();
    assert_eq!(runtime.state(&bundle.id).unwrap().status, Status::Created);
    runtime.start(&bundle.id).unwrap();
    assert_eq!(read_all(out), "from inside\n");
    assert_eq!(exit_code(created.pid), 9);
    assert_eq!(runtime.state(&bundle.id).unwrap().status, Status::Stopped);
    runtime.delete(&bundle.id, false).unwrap();
    assert!(matches!(runtime.state(&bundle.id), Err(Error::NotFound(_))));
}

#[test]
fn an_unreaped_container_counts_as_stopped() {
    let mut bundle = Bundle::new();
    bundle.script("exit 3");
    bundle.write_config();
    let runtime = Runtime::new(bundle.state_root());
    let (out, io) = output();
    let mut options = CreateOptions::new(bundle.dir.path());
    options.io = io;
    let created = runtime.create(&bundle.id, options).unwrap();
    runtime.start(&bundle.id).unwrap();
    read_all(out);
    let pidfd = created.pidfd.as_ref().unwrap();
    rustix::event::poll(
        &mut [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)],
        None,
    )
    .unwrap();
    // A zombie of ours.
    assert_eq!(runtime.state(&bundle.id).unwrap().status, Status::Stopped);
    assert!(matches!(runtime.kill(&bundle.id, 9, false), Err(Error::NotRunning(_))));
    runtime.delete(&bundle.id, false).unwrap();
    assert_eq!(exit_code(created.pid), 3);
}

#[test]
fn a_process_with_a_terminal_by_exec() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let runtime = Runtime::new(bundle.state_root());
    let process = serde_json::from_value(json!({
        "terminal": true, "user": {"uid": 0, "gid": 0}, "cwd": "/tmp", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "tty; pwd; exit 4"], "consoleSize": {"height": 10, "width": 20}
    }))
    .unwrap();
    let mut options = ExecOptions::new(process);
    options.io = Io::Terminal;
    let created = runtime.exec(&bundle.id, options).unwrap();
    let mut text = Vec::new();
    let mut console = File::from(created.console.unwrap());
    // A terminal ends with EIO.
    while let Ok(length) = console.read(&mut [0_u8; 0]).and_then(|_| {
        let mut buffer = [0; 256];
        let length = console.read(&mut buffer)?;
        text.extend(&buffer[..length]);
        Ok(length)
    }) {
        if length == 0 {
            break;
        }
    }
    assert_eq!(String::from_utf8(text).unwrap(), "/dev/pts/0\r\n/tmp\r\n");
    assert_eq!(exit_code(created.pid), 4);
}

#[test]
fn many_threads_make_containers_while_others_allocate() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3_usize {
            let stop = &stop;
            scope.spawn(move || {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                let mut size = seed + 1;
                while !stop.load(Ordering::Relaxed) {
                    size = size * 31 % 65_521 + 1;
                    kept.push(vec![1; size]);
                    if kept.len() > 50 {
                        kept.clear();
                    }
                }
            });
        }
        let makers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut bundle = Bundle::new();
                    bundle.script("hostname; exit 6");
                    bundle.write_config();
                    let runtime = Runtime::new(bundle.state_root());
                    let own = std::fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap();
                    for _ in 0..10 {
                        let (out, io) = output();
                        let mut options = CreateOptions::new(bundle.dir.path());
                        options.io = io;
                        let created = runtime.create(&bundle.id, options).unwrap();
                        runtime.start(&bundle.id).unwrap();
                        assert_eq!(read_all(out), "tester\n");
                        assert_eq!(exit_code(created.pid), 6);
                        runtime.delete(&bundle.id, false).unwrap();
                    }
                    // Later children of this thread are born where they were before.
                    assert_eq!(
                        std::fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap(),
                        own
                    );
                    bundle.assert_nothing_left();
                })
            })
            .collect();
        for maker in makers {
            maker.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
