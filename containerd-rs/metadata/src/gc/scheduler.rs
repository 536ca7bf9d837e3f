//! When to collect: soon after something was deleted, and never so often that the database is held up for long.

use std::sync::Arc;
use std::time::Duration;

use containerd_rs_core::{Error, Result};

use super::GcReport;
use crate::Metadata;

/// When the collector runs by itself.
#[derive(Debug, Clone)]
pub struct GcConfig {
    /// The largest part of the time that the database may be held up; containerd's default is 0.02.
    pub pause_threshold: f64,
    /// After this many changes without a deletion a collection runs too, as leases and expiries may be over; 0: never.
    pub mutation_threshold: u64,
    /// How long to wait for more after the first deletion.
    pub delay: Duration,
    /// How long to wait after the start: the first collection looks at the whole disk.
    pub startup_delay: Duration,
}

impl Default for GcConfig {
    fn default() -> Self {
        GcConfig {
            pause_threshold: 0.02,
            mutation_threshold: 1000,
            delay: Duration::from_millis(200),
            startup_delay: Duration::from_secs(1),
        }
    }
}

/// The thread that collects. Dropped, it ends after the collection that runs.
pub struct Collector {
    metadata: Arc<Metadata>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    /// Starts the thread. `report` is told of every collection that it runs.
    ///
    /// # Errors
    /// `Io` when no thread can be made.
    pub fn start(
        metadata: Arc<Metadata>,
        config: GcConfig,
        report: impl Fn(&GcReport) + Send + 'static,
    ) -> Result<Self> {
        let owned = Arc::clone(&metadata);
        let thread = std::thread::Builder::new()
            .name("gc".into())
            .spawn(move || run(&owned, &config, &report))
            .map_err(|e| Error::io("spawn the collector", e))?;
        Ok(Collector {
            metadata,
            thread: Some(thread),
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.metadata.activity().stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the collector panicked");
        }
    }
}

fn run(metadata: &Metadata, config: &GcConfig, report: &dyn Fn(&GcReport)) {
    let activity = metadata.activity();
    let mut pause = config.startup_delay;
    loop {
        if !activity.pause(pause) {
            return;
        }
        pause = match metadata.collect() {
            Ok(done) => {
                report(&done);
                rest(config, done.pause)
            }
            Err(error) => {
                tracing::error!(%error, "collection failed");
                Duration::from_secs(10)
            }
        };
        let enough = |changes| config.mutation_threshold > 0 && changes >= config.mutation_threshold;
        if !activity.wait(|state| state.deletions > 0 || enough(state.changes)) {
            return;
        }
    }
}

/// How long to rest, so that pauses stay below their part of the time.
fn rest(config: &GcConfig, paused: Duration) -> Duration {
    if config.pause_threshold <= 0.0 {
        return config.delay;
    }
    paused.div_f64(config.pause_threshold.min(0.5)).max(config.delay)
}
