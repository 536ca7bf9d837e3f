//! Kills a command, or what it has forked, at a chosen system call: deterministic where a signal after a delay is luck.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Outcome;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The command itself.
    Command,
    /// A process that it has forked: the container's.
    Child,
}

/// How it went.
pub struct Attempt {
    /// What the command said; the code is that of a shell, so 137 when it was killed.
    pub outcome: Outcome,
    /// Whether somebody was killed: there are no more calls than that otherwise.
    pub killed: bool,
    /// How many calls the victim has begun.
    pub calls: usize,
}

/// Runs `command`; kills the victim as it begins its call number `at` (from 1), which is not carried out any more.
pub fn run(command: Command, victim: Victim, at: usize) -> Attempt {
    // The tracees belong to the thread that traces them, and are let go when it ends.
    std::thread::spawn(move || trace(command, victim, at)).join().unwrap()
}

fn trace(mut command: Command, victim: Victim, at: usize) -> Attempt {
    let out = tempfile::NamedTempFile::new().unwrap();
    let err = tempfile::NamedTempFile::new().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .stderr(err.reopen().unwrap());
    #[allow(unsafe_code)]
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    #[allow(clippy::zombie_processes, reason = "waited for by the tracer")]
    let child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Stopped(..)));
    let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
    if victim == Victim::Child {
        options |= Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    }
    ptrace::setoptions(pid, options).unwrap();
    ptrace::syscall(pid, None).unwrap();
    let mut tracer = Tracer {
        command: pid,
        victim,
        at,
        calls: 0,
        killed: false,
        inside: HashSet::new(),
    };
    let code = tracer.run();
    Attempt {
        outcome: Outcome {
            code,
            stdout: fs::read_to_string(out.path()).unwrap(),
            stderr: fs::read_to_string(err.path()).unwrap(),
        },
        killed: tracer.killed,
        calls: tracer.calls,
    }
}

struct Tracer {
    command: Pid,
    victim: Victim,
    at: usize,
    calls: usize,
    killed: bool,
    /// Who is between the begin and the end of a call.
    inside: HashSet<Pid>,
}

impl Tracer {
    /// Until the command has ended; its code.
    fn run(&mut self) -> i32 {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.command => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.command => return 128 + signal as i32,
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.call(pid);
                    go_on(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, ..)) => go_on(pid, None),
                // How a new tracee begins.
                Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)) => go_on(pid, None),
                Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, Some(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn call(&mut self, pid: Pid) {
        if !self.inside.remove(&pid) {
            self.inside.insert(pid);
            let who = if pid == self.command {
                Victim::Command
            } else {
                Victim::Child
            };
            if who == self.victim && !self.killed {
                self.calls += 1;
                if self.calls == self.at {
                    self.killed = true;
                    kill(pid, Signal::SIGKILL).unwrap();
                }
            }
        }
    }
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    match ptrace::syscall(pid, signal) {
        // Killed meanwhile.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Which calls to die at: a sample of `calls`, all of them with `RUNC_RS_SWEEP=all`.
pub fn points(calls: usize) -> Vec<usize> {
    let wanted = match std::env::var("RUNC_RS_SWEEP").as_deref() {
        Ok("all") => calls,
        _ => 20,
    };
    let step = calls.div_ceil(wanted).max(1);
    // From the end: that is where a container is nearly made.
    (1..=calls).rev().step_by(step).collect()
}
