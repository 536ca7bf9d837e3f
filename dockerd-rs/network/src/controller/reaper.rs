//! What takes the kernel long, behind the back of whoever starts or stops a container: the end of links, and of its memory of
//! UDP clients.
//!
//! The kernel takes tens of milliseconds to delete a link, most of it waiting for other processors to have seen that it is
//! gone, and about as long to delete a hundred. So a container that stops leaves its link to a thread which takes all that
//! have come together meanwhile. Until the link is gone its address stays taken and its record on disk: a daemon that dies in
//! between finds it at its next start.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Known, lock};
use crate::driver;
use crate::error::{Error, Failure, Result};
use crate::netlink::conntrack::{self, Forget};
use crate::netlink::nfnetlink::Kept;
use crate::state::Store;
use crate::types::Endpoint;

/// The thread and what it is to do.
#[derive(Debug)]
pub(super) struct Reaper {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    work: Mutex<Work>,
    /// Told when there is work, or an end to it.
    wake: Condvar,
    /// Told when all work is done.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    waiting: Batch,
    busy: bool,
    ending: bool,
    failures: Vec<Failure>,
}

/// What has come together.
#[derive(Debug, Default)]
struct Batch {
    /// Their links are to go.
    dead: Vec<Endpoint>,
    forget: Forget,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.forget.is_empty()
    }
}

impl Reaper {
    /// Starts the thread; it works in the network namespace of the caller.
    pub(super) fn start(known: &Arc<Mutex<Known>>, store: &Arc<Store>) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let (known, store, shared) = (Arc::clone(known), Arc::clone(store), Arc::clone(&queue));
        let thread = thread::Builder::new()
            .name("link-reaper".to_owned())
            .stack_size(256 * 1024);
        let thread = thread.spawn(move || {
            let mut socket = Kept::default();
            shared.run(|batch| {
                let mut failures = forget(&mut socket, &batch.forget);
                failures.extend(reap(&known, &store, &batch.dead));
                failures
            });
        });
        let thread = thread.map_err(|source| Error::Io {
            what: "start thread",
            path: "link-reaper".into(),
            source,
        })?;
        Ok(Self {
            queue,
            thread: Some(thread),
        })
    }

    /// Hands an endpoint over whose link is to go.
    pub(super) fn take(&self, endpoint: Endpoint) {
        lock(&self.queue.work).waiting.dead.push(endpoint);
        self.queue.wake.notify_one();
    }

    /// Has UDP connections forgotten.
    pub(super) fn forget(&self, what: Forget) {
        if !what.is_empty() {
            lock(&self.queue.work).waiting.forget.merge(what);
            self.queue.wake.notify_one();
        }
    }

    /// Waits until every link handed over so far is gone.
    pub(super) fn settle(&self) {
        drop(self.settled());
    }

    /// As [`Reaper::settle`]; returns what failed since the last time.
    pub(super) fn finish(&self) -> Vec<Failure> {
        std::mem::take(&mut self.settled().failures)
    }

    fn settled(&self) -> MutexGuard<'_, Work> {
        let mut work = lock(&self.queue.work);
        while work.busy || !work.waiting.is_empty() {
            work = self.queue.idle.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work
    }
}

impl Drop for Reaper {
    /// Lets the thread finish its work.
    fn drop(&mut self) {
        lock(&self.queue.work).ending = true;
        self.queue.wake.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that deletes links had died");
        }
    }
}

impl Queue {
    fn run(&self, mut reap: impl FnMut(&Batch) -> Vec<Failure>) {
        loop {
            let batch = {
                let mut work = lock(&self.work);
                work.busy = false;
                while work.waiting.is_empty() {
                    self.idle.notify_all();
                    if work.ending {
                        return;
                    }
                    work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
                }
                work.busy = true;
                std::mem::take(&mut work.waiting)
            };
            let failures = reap(&batch);
            lock(&self.work).failures.extend(failures);
        }
    }
}

fn forget(socket: &mut Kept, what: &Forget) -> Vec<Failure> {
    if what.is_empty() {
        return Vec::new();
    }
    let result = conntrack::forget(socket, what);
    let failed = |error| {
        tracing::warn!(%error, "UDP clients may go on talking to who is gone");
        Failure {
            step: "connections".to_owned(),
            error,
        }
    };
    result.err().map(failed).into_iter().collect()
}

/// Deletes the links of a batch and lets go of what belongs to them. An endpoint whose link would not go comes back, with its
/// address, so that it can be tried again.
fn reap(known: &Mutex<Known>, store: &Store, batch: &[Endpoint]) -> Vec<Failure> {
    let mut failures = Vec::new();
    if batch.is_empty() {
        return failures;
    }
    let endpoints: Vec<_> = batch.iter().collect();
    let results = match driver::by_name("bridge") {
        Ok(driver) => driver.detach(&endpoints),
        Err(error) => vec![Err(error)],
    };
    for (endpoint, result) in batch.iter().zip(results) {
        match result {
            Ok(()) => {
                lock(known).give_back_address(endpoint);
                if let Err(error) = store.remove_endpoint(&endpoint.endpoint_id) {
                    failures.push(Failure {
                        step: format!("record of {}", endpoint.container_name),
                        error,
                    });
                }
            }
            Err(error) => {
                tracing::warn!(link = %endpoint.host_interface, %error, "link would not go");
                failures.push(Failure {
                    step: format!("link {}", endpoint.host_interface),
                    error,
                });
                lock(known)
                    .endpoints
                    .insert(endpoint.endpoint_id.clone(), endpoint.clone());
            }
        }
    }
    failures
}
