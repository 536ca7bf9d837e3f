//! Waiting in the foreground: signals are passed on, children reaped, a terminal copied, and the exit code handed back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use runc_rs::Created;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::Failure;

/// All signals, taken before the container is made so that none is missed.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal for this process and reads them from a descriptor instead. Children start with none blocked.
    pub(crate) fn block() -> Result<Self, Failure> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
        Ok(Self(SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)?))
    }
}

/// Own terminal in raw mode; restored when dropped.
struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Option<Self>, Failure> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let terminal = stdin.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The container's terminal, copied from and to our standard streams.
struct Copy {
    raw: Option<Raw>,
    master: OwnedFd,
    output: JoinHandle<()>,
}

impl Copy {
    fn start(master: OwnedFd) -> Result<Self, Failure> {
        let raw = Raw::enter()?;
        let (mut from, mut to) = (File::from(master.try_clone()?), File::from(master.try_clone()?));
        let output = std::thread::spawn(move || pump(&mut from, &mut std::io::stdout()));
        // Ends with the program: a read of our standard input cannot be called back.
        std::thread::spawn(move || pump(&mut std::io::stdin(), &mut to));
        let copy = Self { raw, master, output };
        copy.resize();
        Ok(copy)
    }

    fn resize(&self) {
        if let Some(raw) = &self.raw {
            // A size that cannot be read or set stays as it is.
            if let Ok(size) = tcgetwinsize(&raw.terminal) {
                let _ = tcsetwinsize(&self.master, size);
            }
        }
    }

    /// Waits until everything the container wrote has been copied.
    fn finish(self) {
        drop(self.master);
        // A thread that panicked has nothing more to copy.
        let _ = self.output.join();
    }
}

/// Copies until the source ends. The master of a terminal ends with EIO.
fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
            Ok(length) => {
                let written = buffer
                    .get(..length)
                    .map(|data| to.write_all(data).and_then(|()| to.flush()));
                if !matches!(written, Some(Ok(()))) {
                    return;
                }
            }
        }
    }
}

/// Waits for the process; passes signals on. Returns its exit code, 128 + n for signal n.
pub(crate) fn wait(
    signals: &Signals,
    mut created: Created,
    started: impl FnOnce() -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let copy = created.console.take().map(Copy::start).transpose()?;
    started()?;
    let code = loop {
        if let Some(code) = reap(created.pid)? {
            break code;
        }
        let Some(signal) = signals.0.read_signal()? else {
            continue;
        };
        match i32::try_from(signal.ssi_signo).unwrap_or(0) {
            libc::SIGCHLD | libc::SIGURG => {}
            libc::SIGWINCH => {
                if let Some(copy) = &copy {
                    copy.resize();
                }
            }
            signal => created.signal(signal)?,
        }
    };
    if let Some(copy) = copy {
        copy.finish();
    }
    Ok(code)
}

/// Reaps every child that has ended; the exit code when the one waited for is among them.
fn reap(pid: i32) -> Result<Option<u8>, Failure> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(ended, status)) if ended.as_raw() == pid => code = u8::try_from(status & 0xff).ok(),
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended.as_raw() == pid => {
                code = u8::try_from(128 + signal as i32).ok();
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
