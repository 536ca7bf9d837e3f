//! What happens to a container, as an iterator.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use runc_rs_cgroups::oom::OomEvent;
use runc_rs_cgroups::{Cgroup, OomNotifier, Stats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::container::Container;
use crate::{Error, lifecycle};

/// Something that happened to a container.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The interval is over; this is what the container uses.
    Stats(Box<Stats>),
    /// It ran out of memory: a process was killed for it.
    OutOfMemory,
}

/// The events of a container, by [`Container::events`]. Each `next` waits; `None` comes when the first process has ended, at once.
#[derive(Debug)]
pub struct Events {
    init: OwnedFd,
    cgroup: Cgroup,
    /// Gone when the cgroup is.
    notifier: Option<OomNotifier>,
    interval: Duration,
    next: Instant,
}

fn failed(error: &runc_rs_cgroups::Error) -> Error {
    Error::Cgroup(error.to_string())
}

impl Events {
    pub(super) fn new(container: Container, interval: Duration) -> Result<Self, Error> {
        let record = lifecycle::record(container.runtime().root(), container.id())?;
        let cgroup = lifecycle::cgroup(&record);
        let notifier = OomNotifier::new(&cgroup).map_err(|error| failed(&error))?;
        let init = crate::procinfo::open(record.pid, record.start_time);
        Ok(Self {
            init: init.ok_or(Error::NotRunning(record.id))?,
            cgroup,
            notifier: Some(notifier),
            interval,
            next: Instant::now() + interval,
        })
    }

    /// What the wait came to; `None` for nothing yet.
    fn step(&mut self) -> Result<Option<Option<Event>>, Error> {
        let left = self.next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.init, PollFlags::IN)];
        fds.extend(
            self.notifier
                .as_ref()
                .map(|notifier| PollFd::new(notifier, PollFlags::IN)),
        );
        let ready = match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            result => result.map_err(|error| Error::system("wait for the container's events", error))?,
        };
        let [ended, told] = [0, 1].map(|place| fds.get(place).is_some_and(|fd| !fd.revents().is_empty()));
        if let (true, Some(notifier)) = (told, &mut self.notifier) {
            match notifier.read().map_err(|error| failed(&error))? {
                OomEvent::Oom => return Ok(Some(Some(Event::OutOfMemory))),
                OomEvent::Gone => self.notifier = None,
                OomEvent::Nothing => {}
            }
        }
        if ended {
            return Ok(Some(None));
        }
        if ready != 0 {
            return Ok(None);
        }
        self.next += self.interval;
        let stats = self.cgroup.stats().map_err(|error| failed(&error))?;
        Ok(Some(Some(Event::Stats(Box::new(stats)))))
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some(event)) => return event.map(Ok),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
