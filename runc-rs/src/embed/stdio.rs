//! Where the standard streams of a container's process lead, stream by stream.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::{Error, Io};

/// Where one standard stream of a container's process leads.
///
/// Whatever is chosen, the process gets an open descriptor. A [`Stdio::Fd`] is closed in the caller when the process has it, so the
/// reader of a pipe sees its end as soon as the process and its children have ended.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's own stream.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is [`Child::stdin`](crate::Child::stdin), [`stdout`](crate::Child::stdout) or
    /// [`stderr`](crate::Child::stderr).
    Piped,
    /// This descriptor: a file, a pipe, a socket.
    Fd(OwnedFd),
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Self {
        Self::Fd(fd.into())
    }
}

/// What a builder was told about the standard streams.
#[derive(Debug, Default)]
pub(super) struct Plan {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    /// In the place of all three.
    pub(super) console: Option<Console>,
}

/// A pseudo terminal.
#[derive(Debug)]
pub(super) enum Console {
    /// Of so many rows and columns; the master stays here.
    Here(u16, u16),
    /// The master goes to this socket.
    Socket(PathBuf),
}

/// The caller's ends of the pipes.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<PipeWriter>,
    pub(super) stdout: Option<PipeReader>,
    pub(super) stderr: Option<PipeReader>,
}

impl Plan {
    /// The three streams, to change one. A terminal that was asked for before is forgotten.
    pub(super) fn streams(&mut self) -> (&mut Stdio, &mut Stdio, &mut Stdio) {
        self.console = None;
        (&mut self.stdin, &mut self.stdout, &mut self.stderr)
    }

    /// Opens what has to be opened.
    pub(super) fn open(self) -> Result<(Io, Ends), Error> {
        let mut ends = Ends::default();
        let io = match (self.console, self.stdin, self.stdout, self.stderr) {
            (Some(Console::Here(..)), ..) => Io::Terminal,
            (Some(Console::Socket(path)), ..) => Io::ConsoleSocket(path),
            (None, Stdio::Inherit, Stdio::Inherit, Stdio::Inherit) => Io::Inherit,
            (None, stdin, stdout, stderr) => Io::Fds {
                stdin: match stdin {
                    Stdio::Piped => {
                        let (reader, writer) = new_pipe()?;
                        ends.stdin = Some(writer);
                        reader.into()
                    }
                    other => plain(other, rustix::stdio::stdin())?,
                },
                stdout: output(stdout, rustix::stdio::stdout(), &mut ends.stdout)?,
                stderr: output(stderr, rustix::stdio::stderr(), &mut ends.stderr)?,
            },
        };
        Ok((io, ends))
    }
}

fn new_pipe() -> Result<(PipeReader, PipeWriter), Error> {
    pipe().map_err(|error| Error::system("pipe", error))
}

fn output(stdio: Stdio, own: BorrowedFd<'_>, end: &mut Option<PipeReader>) -> Result<OwnedFd, Error> {
    match stdio {
        Stdio::Piped => {
            let (reader, writer) = new_pipe()?;
            *end = Some(reader);
            Ok(writer.into())
        }
        other => plain(other, own),
    }
}

fn plain(stdio: Stdio, own: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    match stdio {
        Stdio::Fd(fd) => Ok(fd),
        Stdio::Inherit => own
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::system("dup of a standard stream", error)),
        _ => File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|error| Error::file("open", "/dev/null", error)),
    }
}
