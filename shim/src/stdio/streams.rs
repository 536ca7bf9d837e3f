//! The streams of one process: prepared before it is made, running while it lives.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::docker::{DockerSink, SharedLog};
use super::program::Program;
use super::pump::{Pump, channel};
use super::sink::{Channel, Fifo, Lingering, Sink};
use super::{DockerLog, Target};
use crate::error::{Error, Result};
use crate::log::LogFile;
use crate::reaper::Reaper;
use crate::runtime::RuntimeIo;

/// The stream fields of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct StdioRequest {
    pub(crate) terminal: bool,
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whose streams they are.
#[derive(Debug, Clone)]
pub(crate) struct Owner<'a> {
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) reaper: &'a Arc<Reaper>,
}

/// A sink that is open, but not yet in the reactor.
#[derive(Debug)]
enum Open {
    Null,
    Fifo(OwnedFd),
    File(fs::File),
    Docker(Option<SharedLog>, &'static str, Option<std::path::PathBuf>),
}

/// Everything open that the streams need, before there is a process.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The fifo that stdin comes from, and the writing end that keeps it open.
    input: Option<(OwnedFd, OwnedFd)>,
    /// The pipe to the process's stdin; none with a terminal.
    to_process: Option<OwnedFd>,
    /// Outputs: the pipe from the process (none with a terminal) and where it leads.
    outputs: Vec<(Option<OwnedFd>, Open)>,
    program: Option<Program>,
    terminal: bool,
}

/// Streams that flow.
#[derive(Debug)]
pub(crate) struct Running {
    /// Keeps stdin's fifo from ending until CloseIO.
    keeper: Mutex<Option<OwnedFd>>,
    console: Option<Channel>,
    lingering: Lingering,
    ended: watch::Sender<bool>,
    drains: Mutex<Vec<oneshot::Receiver<()>>>,
    outputs: Mutex<Vec<JoinHandle<()>>>,
    input: Mutex<Option<JoinHandle<()>>>,
    program: Mutex<Option<Program>>,
}

impl Prepared {
    /// Opens what the request names. Blocks while a logging program starts; call it where that is allowed, with the reaper held.
    ///
    /// # Errors
    /// A field that makes no sense, a file that cannot be opened.
    pub(crate) fn open(request: &StdioRequest, owner: &Owner<'_>) -> Result<(Self, RuntimeIo)> {
        let mut prepared = Self {
            input: None,
            to_process: None,
            outputs: Vec::new(),
            program: None,
            terminal: request.terminal,
        };
        let stdin = prepared.open_input(&request.stdin, owner)?;
        let (stdout, stderr) = prepared.open_outputs(request, owner)?;
        if request.terminal {
            return Ok((prepared, RuntimeIo::Terminal));
        }
        Ok((prepared, RuntimeIo::Fds { stdin, stdout, stderr }))
    }

    /// Opens stdin; returns the process's end.
    fn open_input(&mut self, path: &str, owner: &Owner<'_>) -> Result<OwnedFd> {
        let path = match Target::parse(path)? {
            Target::Null => return null(OFlags::RDONLY),
            Target::Path(path) => path,
            _ => return Err(Error::Invalid(format!("stdin {path:?} is no fifo"))),
        };
        let read = open(&path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !is_fifo(&read) && !self.terminal {
            return Ok(read);
        }
        let keeper = open(&path, OFlags::WRONLY | OFlags::NONBLOCK)?;
        self.input = Some((read, keeper));
        if self.terminal {
            return null(OFlags::RDONLY);
        }
        let (process, ours) = pipe(owner)?;
        self.to_process = Some(ours);
        Ok(process)
    }

    /// Opens both outputs; returns the process's ends.
    fn open_outputs(&mut self, request: &StdioRequest, owner: &Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
        let stdout = Target::parse(&request.stdout)?;
        match stdout {
            Target::Binary { path, arguments } => {
                let (program, ends) = Program::start(&path, &arguments, owner.id, owner.namespace, owner.reaper)?;
                self.program = Some(program);
                if self.terminal {
                    self.outputs.push((None, Open::Fifo(ends.stdout)));
                    return Ok((ends.stderr, null(OFlags::WRONLY)?));
                }
                give(&ends.stdout, owner)?;
                give(&ends.stderr, owner)?;
                Ok((ends.stdout, ends.stderr))
            }
            Target::Docker(log) => {
                let DockerLog {
                    path,
                    max_size,
                    max_files,
                    attrs,
                    attach_stdout,
                    attach_stderr,
                } = log;
                let file = path
                    .map(|path| LogFile::open(&path, max_size, max_files, attrs))
                    .transpose()?;
                let file = file.map(|file| Arc::new(Mutex::new(file)));
                let stdout = Open::Docker(file.clone(), "stdout", attach_stdout);
                let stdout = self.output(stdout, owner)?;
                let stderr = if self.terminal {
                    Open::Null
                } else {
                    Open::Docker(file, "stderr", attach_stderr)
                };
                Ok((stdout, self.output(stderr, owner)?))
            }
            Target::File(path) => {
                let file = append(&path)?;
                let again = file.try_clone().map_err(Error::file("dup", &path))?;
                let stdout = self.output(Open::File(file), owner)?;
                let stderr = if self.terminal { Open::Null } else { Open::File(again) };
                Ok((stdout, self.output(stderr, owner)?))
            }
            Target::Null | Target::Path(_) => {
                let stdout = self.output(open_target(stdout)?, owner)?;
                let stderr = if self.terminal {
                    Target::Null
                } else {
                    Target::parse(&request.stderr)?
                };
                Ok((stdout, self.output(open_target(stderr)?, owner)?))
            }
        }
    }

    /// One output: notes the sink and makes the pipe that leads to it.
    fn output(&mut self, sink: Open, owner: &Owner<'_>) -> Result<OwnedFd> {
        if self.terminal {
            // The terminal is the one source; a second sink has none.
            if self.outputs.is_empty() {
                self.outputs.push((None, sink));
            }
            return null(OFlags::WRONLY);
        }
        if matches!(sink, Open::Null) {
            return null(OFlags::WRONLY);
        }
        let (ours, process) = pipe(owner)?;
        give(&process, owner)?;
        self.outputs.push((Some(ours), sink));
        Ok(process)
    }

    /// Lets the streams flow. `console` is the master of the process's terminal.
    ///
    /// # Errors
    /// A descriptor that cannot be polled.
    pub(crate) fn start(self, console: Option<OwnedFd>) -> Result<Running> {
        let reactor = |fd: OwnedFd| channel(fd).map_err(Error::system("epoll"));
        let console = console.map(reactor).transpose()?;
        let ended = watch::Sender::new(false);
        let lingering = Lingering::default();
        let (mut drains, mut tasks) = (Vec::new(), Vec::new());
        for (pipe, sink) in self.outputs {
            let Some(source) = pipe.map(reactor).transpose()?.or_else(|| console.clone()) else {
                continue;
            };
            let sink = match sink {
                Open::Null => Sink::Null,
                Open::Fifo(fd) => Sink::Fifo(Fifo {
                    channel: reactor(fd)?,
                    lingering: lingering.clone(),
                }),
                Open::File(file) => Sink::File { file, failing: false },
                Open::Docker(log, stream, fifo) => Sink::Docker(Box::new(DockerSink::new(log, stream, fifo))),
            };
            let (drained, receiver) = oneshot::channel();
            let pump = Pump {
                source,
                sink,
                ended: Some(ended.subscribe()),
                drained: Some(drained),
                terminal: self.terminal,
            };
            drains.push(receiver);
            tasks.push(tokio::spawn(pump.run()));
        }
        let mut input = None;
        let mut keeper = None;
        if let Some((read, keep)) = self.input {
            let to = match self.to_process {
                Some(fd) => Some(reactor(fd)?),
                None => console.clone(),
            };
            if let Some(to) = to {
                let pump = Pump {
                    source: reactor(read)?,
                    sink: Sink::Channel(to),
                    ended: None,
                    drained: None,
                    terminal: false,
                };
                // Ends when the fifo does, or the process reads no more; the pipe is closed with it.
                input = Some(tokio::spawn(pump.run()));
            }
            keeper = Some(keep);
        }
        Ok(Running {
            keeper: Mutex::new(keeper),
            lingering,
            console,
            ended,
            drains: Mutex::new(drains),
            outputs: Mutex::new(tasks),
            input: Mutex::new(input),
            program: Mutex::new(self.program),
        })
    }
}

impl Running {
    /// The process gets no more input after what is there (CloseIO).
    pub(crate) fn close_stdin(&self) {
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Changes the size of the terminal; nothing without one.
    ///
    /// # Errors
    /// [`Error::System`].
    pub(crate) fn resize(&self, width: u16, height: u16) -> Result<()> {
        let Some(console) = &self.console else { return Ok(()) };
        let size = Winsize {
            ws_row: height,
            ws_col: width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(console.get_ref(), size).map_err(Error::system("TIOCSWINSZ"))
    }

    /// The process has ended: ends its input, and waits until all that it wrote has gone on its way, at most for `patience`.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.close_stdin();
        if let Some(input) = self.input.lock().unwrap_or_else(PoisonError::into_inner).take() {
            input.abort();
        }
        self.ended.send_replace(true);
        let drains = std::mem::take(&mut *self.drains.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for drained in drains {
                // The sender is dropped, never used.
                let _ = drained.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("output is not drained: nobody reads it");
        }
    }

    /// Ends the streams, after `patience` by force; then the logging program.
    pub(crate) async fn finish(&self, patience: Duration) {
        let tasks = std::mem::take(&mut *self.outputs.lock().unwrap_or_else(PoisonError::into_inner));
        let end = tokio::time::Instant::now() + patience;
        for mut task in tasks {
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                task.abort();
                // Until it has let go of its descriptors.
                let _ = task.await;
            }
        }
        self.lingering.end();
        if let Some(program) = self.program.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(program.finish());
        }
    }
}

fn open_target(target: Target) -> Result<Open> {
    let Target::Path(path) = target else {
        return Ok(Open::Null);
    };
    // Read and write: readers may come and go without the writer noticing.
    let fifo = open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::APPEND)?;
    if is_fifo(&fifo) {
        Ok(Open::Fifo(fifo))
    } else {
        Ok(Open::File(fs::File::from(fifo)))
    }
}

fn append(path: &Path) -> Result<fs::File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file("mkdir", parent))?;
    }
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(Error::file("open", path))
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).map_err(Error::file("open", path))
}

fn null(flags: OFlags) -> Result<OwnedFd> {
    open(Path::new("/dev/null"), flags)
}

fn is_fifo(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// A pipe: its reading and its writing end.
fn pipe(owner: &Owner<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("pipe"))?;
    give(&read, owner)?;
    Ok((read, write))
}

/// Makes a pipe the container's user's, where the options name one.
fn give(fd: &OwnedFd, owner: &Owner<'_>) -> Result<()> {
    if owner.uid == 0 && owner.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(owner.uid),
        rustix::fs::Gid::from_raw(owner.gid),
    );
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(Error::system("chown pipe"))
}
