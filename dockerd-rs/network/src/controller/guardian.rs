//! Puts the firewall back when somebody takes it down.
//!
//! A reload of the host's firewall often begins with "flush everything", and with our table would go what keeps ports that
//! are published on the loopback address local, and networks apart. So a thread listens to what the kernel tells about
//! changes to nftables, and writes the whole table anew when one of them was to ours and not by us.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{Wall, lock};
use crate::error::{Error, Result};
use crate::firewall::Watch;

/// Whoever changes rules is given this long to finish; changes come in bursts.
const SETTLE: Duration = Duration::from_millis(50);
/// Who changes them again at once (another daemon with the same table) is not answered at once for ever: the pause doubles
/// from the first to the last of these.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// The thread, ended when dropped.
#[derive(Debug)]
pub(super) struct Guardian {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Guardian {
    /// Starts the thread, in the network namespace of the caller; none for a firewall that cannot be watched.
    pub(super) fn start(wall: &Arc<Mutex<Wall>>) -> Result<Option<Self>> {
        let Some(mut watch) = lock(wall).backend.watch()? else {
            return Ok(None);
        };
        let failed = |source| Error::Io {
            what: "start thread",
            path: "firewall-guardian".into(),
            source,
        };
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?);
        let (wall, told) = (Arc::clone(wall), Arc::clone(&end));
        let thread = thread::Builder::new()
            .name("fw-guardian".to_owned())
            .stack_size(256 * 1024);
        let thread = thread.spawn(move || {
            if let Err(error) = guard(&mut watch, &wall, &told) {
                tracing::error!(%error, "the firewall is not watched any more");
            }
        });
        Ok(Some(Self {
            end,
            thread: Some(thread.map_err(failed)?),
        }))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if told.is_ok() && self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches the firewall had died");
        }
    }
}

fn guard(watch: &mut Watch, wall: &Mutex<Wall>, end: &OwnedFd) -> Result<()> {
    let (mut pause, mut last) = (PAUSE.0, None::<Instant>);
    while wait(Some(watch), end, None)? {
        if !watch.was_changed()? {
            continue;
        }
        let calm = last.is_none_or(|last| last.elapsed() > PAUSE.1);
        pause = if calm { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        if !wait(None, end, Some(if calm { SETTLE } else { pause }))? {
            return Ok(());
        }
        // What was told meanwhile is answered with this one.
        while wait_ready(watch)? {
            watch.was_changed()?;
        }
        tracing::warn!("somebody changed the firewall's table; putting it back");
        let mut wall = lock(wall);
        let Wall { backend, rules } = &mut *wall;
        if let Err(error) = backend.replace(rules) {
            tracing::error!(%error, "the firewall could not be put back");
        }
        last = Some(Instant::now());
    }
    Ok(())
}

/// Waits for the watch to have something, or for the time to pass; false when the end has come.
fn wait(watch: Option<&Watch>, end: &OwnedFd, time: Option<Duration>) -> Result<bool> {
    let time = time.map(|time| Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    });
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    fds.extend(watch.map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
    poll_all(&mut fds, time.as_ref())?;
    Ok(fds.first().is_some_and(|end| end.revents().is_empty()))
}

fn wait_ready(watch: &Watch) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    poll_all(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map(|ready| ready > 0)
}

fn poll_all(fds: &mut [PollFd<'_>], time: Option<&Timespec>) -> Result<usize> {
    loop {
        match poll(fds, time) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Io {
                    what: "poll",
                    path: "firewall-guardian".into(),
                    source: errno.into(),
                });
            }
            Ok(ready) => return Ok(ready),
        }
    }
}
