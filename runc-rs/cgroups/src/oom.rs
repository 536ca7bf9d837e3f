//! Out-of-memory notification: v1's eventfd on `memory.oom_control`, v2's inotify on `memory.events`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, UNIFIED};
use crate::dir::Dir;
use crate::error::{Error, Result};

/// What the notifier saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomEvent {
    /// The cgroup ran out of memory; on v2 and on v1 since Linux 4.13, a process was killed for it.
    Oom,
    /// The cgroup is gone: no more events will come.
    Gone,
    /// Woken, but nothing new.
    Nothing,
}

/// A descriptor that becomes readable when the cgroup runs out of memory or is removed. Poll it (it does not block), then call
/// [`Self::read`].
#[derive(Debug)]
pub struct OomNotifier {
    fd: OwnedFd,
    path: PathBuf,
    kills: u64,
    v1: bool,
    /// v1 drops the registration when this is closed.
    _control: Option<File>,
}

impl AsFd for OomNotifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OomNotifier {
    /// Watches a cgroup.
    ///
    /// # Errors
    /// [`Error::NoController`] without a memory controller; a failing system call.
    pub fn new(cgroup: &Cgroup) -> Result<Self> {
        match (cgroup.paths().get("memory"), cgroup.paths().get(UNIFIED)) {
            (Some(path), _) => Self::v1(path),
            (None, Some(path)) => Self::v2(path),
            (None, None) => Err(Error::NoController {
                controller: "memory".to_owned(),
            }),
        }
    }

    fn v1(path: &Path) -> Result<Self> {
        let dir = Dir::open(path)?;
        let control = dir.open_read("memory.oom_control")?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = eventfd(0, flags).map_err(|e| Error::io("eventfd", path)(e.into()))?;
        dir.write(
            "cgroup.event_control",
            &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
        )?;
        let kills = count(&dir, true)?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            kills,
            v1: true,
            _control: Some(control),
        })
    }

    fn v2(path: &Path) -> Result<Self> {
        let dir = Dir::open(path)?;
        let io = |e: Errno| Error::io("inotify", path)(e.into());
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(io)?;
        if !dir.has("memory.events") {
            return Err(Error::NoController {
                controller: "memory".to_owned(),
            });
        }
        // The kernel says IN_MODIFY for changed events, and IN_DELETE_SELF for the file with its directory.
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, path.join("memory.events"), flags).map_err(io)?;
        inotify::add_watch(&fd, path.join("cgroup.events"), flags).map_err(io)?;
        let kills = count(&dir, false)?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            kills,
            v1: false,
            _control: None,
        })
    }

    /// Takes what the descriptor has to say, without blocking.
    ///
    /// # Errors
    /// A failing system call.
    pub fn read(&mut self) -> Result<OomEvent> {
        let mut buffer = [0_u8; 4096];
        let mut woken = false;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) => woken = true,
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io("read", &self.path)(e.into())),
            }
            if self.v1 {
                break;
            }
        }
        let gone = |e: &Error| matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV));
        let kills = match Dir::open(&self.path).and_then(|dir| count(&dir, self.v1)) {
            Ok(kills) => kills,
            Err(e) if gone(&e) => return Ok(OomEvent::Gone),
            Err(e) => return Err(e),
        };
        let more = kills > self.kills;
        self.kills = kills.max(self.kills);
        // v1 notifies of the shortage itself, before the kill is counted; kernels before 4.13 do not count at all.
        if more || (self.v1 && woken) {
            Ok(OomEvent::Oom)
        } else {
            Ok(OomEvent::Nothing)
        }
    }
}

/// How many processes were killed for memory. v1 without `oom_kill` (before Linux 4.13) counts none.
fn count(dir: &Dir, v1: bool) -> Result<u64> {
    let text = dir.read(if v1 { "memory.oom_control" } else { "memory.events" })?;
    let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
    Ok(line.and_then(|n| n.trim().parse().ok()).unwrap_or(0))
}
