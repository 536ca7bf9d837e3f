//! The streams of a process: fifos to its shim, and everyone who is attached.
//!
//! Output comes by fifo. With our shim the shim writes the log, and a fifo is read only while somebody is attached; with any other shim the
//! daemon reads all the time and writes the log itself. Either way a *pump* reads one fifo and hands every chunk to the log and to all
//! listeners, waiting for the slowest, as Docker does.

mod fifo;
mod pump;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::logs::LogWriter;
use crate::error::{Error, Result};

/// Chunks a listener may be behind before the process waits for it.
const BEHIND: usize = 16;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Its number in the multiplexed stream.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// Its name in a log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output.
pub(crate) type Chunk = (Output, Bytes);

#[derive(Debug)]
struct Listener {
    sender: mpsc::Sender<Chunk>,
    stdout: bool,
    stderr: bool,
}

/// How the streams of the present run are wired.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    /// There is one output, a terminal.
    pub(crate) tty: bool,
    /// There is an input.
    pub(crate) stdin: bool,
    /// The daemon reads all the time; otherwise only while somebody listens.
    pub(crate) always: bool,
    /// Where the daemon writes what it reads.
    pub(crate) log: Option<Arc<LogWriter>>,
}

#[derive(Debug, Default)]
struct Inner {
    wiring: Option<Wiring>,
    listeners: Vec<Listener>,
    /// Whether a pump reads stdout, stderr.
    pumping: [bool; 2],
    stdin: Option<Arc<tokio::sync::Mutex<Option<pipe::Sender>>>>,
}

/// The streams of one process.
#[derive(Debug)]
pub(crate) struct Streams {
    directory: PathBuf,
    inner: Mutex<Inner>,
    /// Counts pumps that run; drained when zero.
    running: watch::Sender<usize>,
    /// The run is over: pumps take what is there and leave.
    over: watch::Sender<bool>,
    /// The fifos of a run stand; input that comes before waits for them.
    open: watch::Sender<bool>,
}

impl Streams {
    /// Streams whose fifos are in `directory` while the process runs.
    pub(crate) fn new(directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            directory,
            inner: Mutex::default(),
            running: watch::channel(0).0,
            over: watch::channel(false).0,
            open: watch::channel(false).0,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fifo of an input or output.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the fifos of a new run, and reads those that are to be read from the first byte on.
    pub(crate) fn open(self: &Arc<Self>, wiring: Wiring) -> Result<()> {
        fifo::make_directory(&self.directory)?;
        fifo::make(&self.path("out"))?;
        if !wiring.tty {
            fifo::make(&self.path("err"))?;
        }
        if wiring.stdin {
            fifo::make(&self.path("in"))?;
        }
        self.adopt(wiring)
    }

    /// Takes the fifos of a run up that another daemon began.
    pub(crate) fn adopt(self: &Arc<Self>, wiring: Wiring) -> Result<()> {
        self.over.send_replace(false);
        let mut inner = self.lock();
        inner.stdin = wiring.stdin.then(Arc::default);
        inner.wiring = Some(wiring);
        self.ensure_pumps(&mut inner)?;
        drop(inner);
        self.open.send_replace(true);
        Ok(())
    }

    /// Adds a listener. It hears everything from now on, or from the start of the next run, until the run ends.
    pub(crate) fn listen(self: &Arc<Self>, stdout: bool, stderr: bool) -> Result<mpsc::Receiver<Chunk>> {
        let (sender, receiver) = mpsc::channel(BEHIND);
        let mut inner = self.lock();
        inner.listeners.push(Listener { sender, stdout, stderr });
        self.ensure_pumps(&mut inner)?;
        Ok(receiver)
    }

    fn ensure_pumps(self: &Arc<Self>, inner: &mut Inner) -> Result<()> {
        let Some(wiring) = inner.wiring.clone() else {
            return Ok(());
        };
        for (output, file) in [(Output::Stdout, "out"), (Output::Stderr, "err")] {
            let at = usize::from(output.number()) - 1;
            let absent = wiring.tty && output == Output::Stderr;
            let wanted = wiring.always || inner.listeners.iter().any(|listener| listener.wants(output));
            if absent || inner.pumping[at] || !wanted {
                continue;
            }
            let path = self.path(file);
            let receiver = fifo::open_read(&path)?;
            inner.pumping[at] = true;
            self.running.send_modify(|count| *count += 1);
            tokio::spawn(pump::run(Arc::clone(self), output, receiver, wiring.clone()));
        }
        Ok(())
    }

    /// The input's writing end, opened when the shim has its reading end open.
    pub(crate) async fn write_stdin(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.until_open().await;
        let slot = self.lock().stdin.clone();
        let Some(slot) = slot else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        let mut slot = slot.lock().await;
        if slot.is_none() {
            *slot = Some(fifo::open_write(&self.path("in")).await?);
        }
        let Some(sender) = slot.as_mut() else { return Ok(()) };
        let mut over = self.over.subscribe();
        tokio::select! {
            written = tokio::io::AsyncWriteExt::write_all(sender, bytes) => written,
            _ = over.wait_for(|over| *over) => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits for the run whose input a client has sent ahead.
    async fn until_open(&self) {
        // The sender lives in `self`.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Closes our writing end; the shim then passes the end on once it was told to (`CloseIO`).
    pub(crate) async fn close_stdin(&self) {
        self.until_open().await;
        let slot = self.lock().stdin.take();
        if let Some(slot) = slot {
            let mut slot = slot.lock().await;
            // The shim sees an end only of a fifo that was open once.
            if slot.is_none() {
                *slot = fifo::open_write(&self.path("in")).await.ok();
            }
            *slot = None;
        }
    }

    /// The run is over: waits until what is in the fifos was handed on, lets listeners go, takes the fifos away.
    pub(crate) async fn finish(&self) {
        self.over.send_replace(true);
        self.open.send_replace(false);
        let mut running = self.running.subscribe();
        // The sender lives in `self`.
        let _ = running.wait_for(|count| *count == 0).await;
        {
            let mut inner = self.lock();
            inner.listeners.clear();
            inner.stdin = None;
            inner.pumping = [false; 2];
            if let Some(log) = inner.wiring.take().and_then(|wiring| wiring.log) {
                log.flush();
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.directory.display(), %error, "fifos not removed");
        }
    }

    /// Removes the fifos of a run that never began; listeners are let go.
    pub(crate) async fn abandon(&self) {
        self.finish().await;
    }

    /// The directory of the fifos.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn listeners_of(&self, output: Output) -> Vec<mpsc::Sender<Chunk>> {
        self.lock()
            .listeners
            .iter()
            .filter(|listener| listener.wants(output))
            .map(|listener| listener.sender.clone())
            .collect()
    }

    fn drop_listener(&self, gone: &mpsc::Sender<Chunk>) {
        self.lock()
            .listeners
            .retain(|listener| !listener.sender.same_channel(gone));
    }

    /// Whether a pump that nobody needs any more may leave; if so it counts as gone.
    fn leave_if_idle(&self, output: Output, always: bool) -> bool {
        let mut inner = self.lock();
        inner.listeners.retain(|listener| !listener.sender.is_closed());
        if always || inner.listeners.iter().any(|listener| listener.wants(output)) {
            return false;
        }
        inner.pumping[usize::from(output.number()) - 1] = false;
        true
    }
}

impl Listener {
    fn wants(&self, output: Output) -> bool {
        match output {
            Output::Stdout => self.stdout,
            Output::Stderr => self.stderr,
        }
    }
}

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> Error {
    Error::failed(format!("{what} {}", path.display()), error)
}
