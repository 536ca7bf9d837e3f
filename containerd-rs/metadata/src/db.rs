//! The one database: who writes, and when the disk is waited for.
//!
//! Writers put their job into a queue and wait for the writer's seat. Whoever gets it does all jobs that are queued in one
//! transaction, so callers that come while the disk is busy share the next sync. A job that fails is taken back alone.
//!
//! A *relaxed* write is seen by all at once and syncs nothing; it is in the [`journal`](crate::journal), so that it survives this
//! process, and on disk with the next durable write of anybody, or after [`LAZY`]. So a killed process loses nothing, and a power
//! cut only a tail of relaxed writes that nothing durable was built upon.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_rs_core::{Error, Result};

pub(crate) use crate::job::Durability;
use crate::job::{Job, TypedJob};
use crate::journal::Journal;
use crate::reserve::Reserve;
use crate::tx::{Read as _, ReadTx, Table, WriteTx, broken};

/// How long a relaxed write may stay in memory.
pub(crate) const LAZY: Duration = Duration::from_millis(100);

/// The layout of tables and keys; rows have versions of their own.
const LAYOUT: &[u8] = b"1";

/// The key of the number of the last transaction.
const NUMBER: &[u8] = b"transaction";

/// Rows are small and hot ones few: more cache is wasted memory.
const CACHE: usize = 4 << 20;

/// The database.
pub(crate) struct Db {
    shared: Arc<Shared>,
    flusher: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    redb: redb::Database,
    queue: Mutex<VecDeque<Box<dyn Job>>>,
    seat: Mutex<Seat>,
    /// Whether there are relaxed writes in memory.
    lazy: AtomicBool,
    flush: Mutex<Flush>,
    wake: Condvar,
    /// What waits for relaxed writes to be on disk.
    then: Mutex<Vec<Then>>,
}

/// Work for when a relaxed write is on disk.
type Then = Box<dyn FnOnce() + Send>;

/// What only the writer has.
struct Seat {
    journal: Journal,
    reserve: Reserve,
    /// The number of the last transaction.
    number: u64,
}

#[derive(Default)]
struct Flush {
    wanted: bool,
    stop: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Db {
    /// Opens or makes the database file, and repairs it after a crash.
    ///
    /// # Errors
    /// `Internal` for a damaged file, or one of a later version.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let redb = redb::Database::builder()
            .set_cache_size(CACHE)
            .create(path)
            .map_err(|e| broken(&format!("open {}", path.display()), e))?;
        let mut reserve = Reserve::new(path)?;
        let (mut journal, records) = Journal::open(&path.with_extension("journal"))?;
        let mut tx = WriteTx::begin(&redb)?;
        tx.make_tables()?;
        match tx.get(Table::Meta, b"version")? {
            Some(version) if version == LAYOUT => {}
            Some(version) => {
                let shown = version.escape_ascii();
                return Err(broken(
                    &format!("open {}", path.display()),
                    format_args!("layout {shown} is not known"),
                ));
            }
            None => tx.put(Table::Meta, b"version", LAYOUT)?,
        }
        let bytes = tx.get(Table::Meta, NUMBER)?.unwrap_or_default();
        let mut number = bytes.try_into().map_or(0, u64::from_le_bytes);
        for (next, changes) in records {
            // What the database has already is passed over; a gap would mean another database's journal.
            if next == number + 1 {
                changes.into_iter().try_for_each(|change| tx.redo(change))?;
                number = next;
            }
        }
        tx.put(Table::Meta, NUMBER, &number.to_le_bytes())?;
        if let Err(error) = reserve.cover(true) {
            // What is there can be read all the same.
            tracing::warn!(%error, "metadata has no room to grow");
        }
        tx.commit(true)?;
        journal.cut(0)?;
        let shared = Arc::new(Shared {
            redb,
            queue: Mutex::default(),
            seat: Mutex::new(Seat {
                journal,
                reserve,
                number,
            }),
            lazy: AtomicBool::new(false),
            flush: Mutex::default(),
            wake: Condvar::new(),
            then: Mutex::default(),
        });
        let flusher = std::thread::Builder::new()
            .name("metadata-flush".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.flush_loop()
            })
            .map_err(|e| Error::io("spawn the metadata flusher", e))?;
        Ok(Db {
            shared,
            flusher: Some(flusher),
        })
    }

    /// The state as the last write left it.
    pub(crate) fn read(&self) -> Result<ReadTx> {
        ReadTx::begin(&self.shared.redb)
    }

    /// Does a write, all of it or nothing, together with those of others.
    pub(crate) fn write<T, F>(&self, durability: Durability, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTx) -> Result<T> + Send + 'static,
    {
        self.shared.write(durability, work)
    }

    /// Waits until all that was written is on disk, and what waited for it is done.
    pub(crate) fn sync(&self) -> Result<()> {
        self.shared.settle()
    }

    /// Does something, on another thread, when all that was written so far is on disk.
    pub(crate) fn then(&self, work: impl FnOnce() + Send + 'static) {
        lock(&self.shared.then).push(Box::new(work));
        lock(&self.shared.flush).wanted = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn write<T, F>(&self, durability: Durability, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTx) -> Result<T> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let job = TypedJob::new(durability, work, Arc::clone(&slot));
        lock(&self.queue).push_back(Box::new(job));
        // Whoever had the seat before us may have done our job; otherwise it is still in the queue.
        let mut seat = lock(&self.seat);
        if lock(&slot).is_none() {
            self.serve(&mut seat);
        }
        drop(seat);
        lock(&slot)
            .take()
            .unwrap_or_else(|| Err(Error::Internal("metadata database: a write was lost".into())))
    }

    /// Does all queued jobs in one transaction. The caller has the seat.
    fn serve(&self, seat: &mut Seat) {
        let mut jobs: Vec<_> = lock(&self.queue).drain(..).collect();
        let mut durable = jobs.iter().any(|job| job.durability() == Durability::Durable);
        let done = WriteTx::begin(&self.redb).and_then(|mut tx| {
            jobs.iter_mut().try_for_each(|job| job.run(&mut tx))?;
            if tx.changes().is_empty() && !(durable && self.lazy.load(Ordering::Acquire)) {
                // Nothing to keep, and nothing in memory that somebody waits for.
                durable = false;
                return Ok(());
            }
            self.commit(seat, tx, &mut durable)
        });
        match &done {
            Ok(()) if durable => self.lazy.store(false, Ordering::Release),
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "metadata could not be written"),
        }
        for job in jobs {
            job.finish(done.as_ref().copied());
        }
    }

    /// Ends a transaction. A relaxed one that cannot be put into the journal becomes a durable one.
    fn commit(&self, seat: &mut Seat, mut tx: WriteTx, durable: &mut bool) -> Result<()> {
        let (number, before) = (seat.number + 1, seat.journal.length());
        if !*durable && let Err(error) = seat.journal.append(number, tx.changes()) {
            tracing::warn!(%error, "a relaxed write waits for the disk");
            *durable = true;
        }
        let deletes = tx.changes().iter().any(|(_, _, value)| value.is_none());
        let committed = tx
            .put(Table::Meta, NUMBER, &number.to_le_bytes())
            .and_then(|()| seat.reserve.cover(deletes))
            .and_then(|()| tx.commit(*durable));
        if committed.is_err() {
            seat.journal.cut(before)?;
            return committed;
        }
        seat.number = number;
        if *durable {
            // A journal that stays too long is passed over by its numbers.
            return seat.journal.cut(0).or_else(|error| {
                tracing::warn!(%error, "the journal was not emptied");
                Ok(())
            });
        }
        self.want_flush();
        Ok(())
    }

    fn want_flush(&self) {
        if !self.lazy.swap(true, Ordering::AcqRel) {
            lock(&self.flush).wanted = true;
            self.wake.notify_one();
        }
    }

    fn sync(&self) -> Result<()> {
        if self.lazy.load(Ordering::Acquire) {
            self.write(Durability::Durable, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Syncs, and does what waited for it. What comes to wait meanwhile has the flusher woken once more.
    fn settle(&self) -> Result<()> {
        let then = std::mem::take(&mut *lock(&self.then));
        if let Err(error) = self.sync() {
            let mut waiting = lock(&self.then);
            let later = std::mem::replace(&mut *waiting, then);
            waiting.extend(later);
            return Err(error);
        }
        then.into_iter().for_each(|work| work());
        Ok(())
    }

    fn flush_loop(&self) {
        let mut state = lock(&self.flush);
        while !state.stop {
            if !state.wanted {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.wanted = false;
            let waited = self.wake.wait_timeout_while(state, LAZY, |state| !state.stop);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = self.settle() {
                tracing::error!(%error, "metadata could not be flushed");
            }
            state = lock(&self.flush);
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        lock(&self.shared.flush).stop = true;
        self.shared.wake.notify_all();
        if let Some(flusher) = self.flusher.take()
            && flusher.join().is_err()
        {
            tracing::error!("the metadata flusher panicked");
        }
        if let Err(error) = self.shared.settle() {
            tracing::error!(%error, "metadata could not be flushed at the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("meta.redb")).unwrap();
        (dir, db)
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_harms_nobody() {
        let (_dir, db) = open();
        db.write(Durability::Durable, |tx| tx.put(Table::Images, b"a", b"old"))
            .unwrap();
        let failed = db.write(Durability::Durable, |tx| {
            tx.put(Table::Images, b"a", b"new")?;
            tx.put(Table::Images, b"b", b"new")?;
            tx.delete(Table::Images, b"a")?;
            Err::<(), _>(Error::NotFound("x".into()))
        });
        assert!(failed.unwrap_err().is_not_found());
        let tx = db.read().unwrap();
        assert_eq!(tx.get(Table::Images, b"a").unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(tx.get(Table::Images, b"b").unwrap(), None);
    }

    #[test]
    fn many_writers_lose_nothing() {
        let (dir, db) = open();
        std::thread::scope(|scope| {
            for thread in 0..8u8 {
                let db = &db;
                scope.spawn(move || {
                    for n in 0..50u8 {
                        let durability = if n % 2 == 0 {
                            Durability::Relaxed
                        } else {
                            Durability::Durable
                        };
                        let done = db.write(durability, move |tx| {
                            tx.put(Table::Images, &[thread, n], b"x")?;
                            if n % 5 == 0 {
                                Err(Error::Aborted("x".into()))
                            } else {
                                Ok(())
                            }
                        });
                        assert_eq!(done.is_err(), n % 5 == 0);
                    }
                });
            }
        });
        drop(db);
        let db = Db::open(&dir.path().join("meta.redb")).unwrap();
        let mut count = 0;
        db.read()
            .unwrap()
            .scan(Table::Images, b"", &mut |_, _| {
                count += 1;
                Ok(true)
            })
            .unwrap();
        assert_eq!(count, 8 * 40);
    }

    /// A copy of the files, taken while the database is open, is what a killed process leaves.
    #[test]
    fn a_killed_process_loses_no_relaxed_write() {
        let (dir, db) = open();
        db.write(Durability::Durable, |tx| tx.put(Table::Images, b"a", b"1"))
            .unwrap();
        for n in 0..20u8 {
            let done = db.write(Durability::Relaxed, move |tx| {
                tx.put(Table::Images, &[n], b"x")?;
                tx.delete(Table::Images, b"a")?;
                if n == 7 {
                    Err(Error::Aborted("x".into()))
                } else {
                    Ok(())
                }
            });
            assert_eq!(done.is_err(), n == 7);
        }
        let seat = lock(&db.shared.seat);
        let copy = tempfile::tempdir().unwrap();
        for name in ["meta.redb", "meta.journal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        drop(seat);
        for _ in 0..2 {
            let db = Db::open(&copy.path().join("meta.redb")).unwrap();
            let tx = db.read().unwrap();
            for n in 0..20u8 {
                assert_eq!(tx.get(Table::Images, &[n]).unwrap().is_some(), n != 7, "{n}");
            }
            assert_eq!(tx.get(Table::Images, b"a").unwrap(), None);
        }
    }

    #[test]
    fn work_waits_for_the_disk() {
        let (_dir, db) = open();
        let (send, receive) = std::sync::mpsc::channel();
        for n in 0..3 {
            db.write(Durability::Relaxed, |tx| tx.put(Table::Images, b"a", b"1"))
                .unwrap();
            let (send, shared) = (send.clone(), Arc::clone(&db.shared));
            db.then(move || send.send((n, shared.lazy.load(Ordering::Acquire))).unwrap());
            if n == 1 {
                db.sync().unwrap();
            }
        }
        let mut done: Vec<_> = (0..3).map(|_| receive.recv().unwrap()).collect();
        done.sort_unstable();
        assert_eq!(done.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!done[0].1);
    }

    #[test]
    fn relaxed_writes_are_seen_at_once_and_kept_at_the_end() {
        let (dir, db) = open();
        db.write(Durability::Relaxed, |tx| tx.put(Table::Images, b"a", b"1"))
            .unwrap();
        assert!(db.read().unwrap().get(Table::Images, b"a").unwrap().is_some());
        drop(db);
        let db = Db::open(&dir.path().join("meta.redb")).unwrap();
        assert!(db.read().unwrap().get(Table::Images, b"a").unwrap().is_some());
    }
}
