//! A further process in a container, in parts.

use std::path::PathBuf;

use oci_spec::runtime::Process;

use super::child::Child;
use super::container::Container;
use super::parts::{set_env, set_terminal};
use super::stdio::{Console, Plan, Stdio};
use crate::{Error, ExecOptions};

/// A process to be started in a running container: [`Container::exec`] makes one, [`Self::start`] starts it.
///
/// Without more it is root's, in `/`, with `PATH` and `TERM` in its environment, the container's own capabilities and seccomp filter, no
/// new privileges, and the caller's standard streams.
#[derive(Debug)]
#[must_use = "nothing runs before `start`"]
pub struct ExecBuilder {
    container: Container,
    process: Process,
    streams: Plan,
    preserve_fds: u32,
    ignore_paused: bool,
}

impl ExecBuilder {
    pub(super) fn new(container: Container, args: Vec<String>) -> Self {
        let mut process = Process::default();
        process.set_args(Some(args)).set_capabilities(None).set_rlimits(None);
        Self {
            container,
            process,
            streams: Plan::default(),
            preserve_fds: 0,
            ignore_paused: false,
        }
    }

    /// The whole process at once (runtime-spec, "process"), in the place of all that was said before, arguments included.
    pub fn process(mut self, process: Process) -> Self {
        self.process = process;
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        set_env(&mut self.process, name, value);
        self
    }

    /// The working directory, an absolute path in the container.
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.process.set_cwd(path.into());
        self
    }

    /// The user and group, by number.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        let mut user = self.process.user().clone();
        user.set_uid(uid).set_gid(gid);
        self.process.set_user(user);
        self
    }

    /// Where the standard input comes from.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().0 = stdio.into();
        self
    }

    /// Where the standard output goes.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().1 = stdio.into();
        self
    }

    /// Where the standard error goes.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().2 = stdio.into();
        self
    }

    /// A pseudo terminal of so many rows and columns for all three: [`Child::terminal`].
    pub fn terminal(mut self, rows: u16, columns: u16) -> Self {
        self.streams.console = Some(Console::Here(rows, columns));
        self
    }

    /// A pseudo terminal whose master is sent to the unix socket at `path` (`SCM_RIGHTS`).
    pub fn console_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.streams.console = Some(Console::Socket(path.into()));
        self
    }

    /// How many of the caller's descriptors, from 3 on, the process gets.
    pub fn preserve_fds(mut self, number: u32) -> Self {
        self.preserve_fds = number;
        self
    }

    /// Start it in a paused container too: it runs when that is resumed.
    pub fn ignore_paused(mut self, ignore: bool) -> Self {
        self.ignore_paused = ignore;
        self
    }

    /// Starts it. Returns when the program has been executed.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] or [`Error::NotRunning`] for a container that does not run, [`Error::Process`] with runc's words for what
    /// failed inside.
    pub fn start(mut self) -> Result<Child, Error> {
        set_terminal(&mut self.process, self.streams.console.as_ref());
        let (io, ends) = self.streams.open()?;
        let options = ExecOptions {
            io,
            preserve_fds: self.preserve_fds,
            ignore_paused: self.ignore_paused,
            ..ExecOptions::new(self.process)
        };
        let id = self.container.id();
        Child::new(id, self.container.runtime().exec(id, options)?, ends)
    }
}
