//! The shim's own log: logfmt lines into the fifo `log` of the bundle, which the manager copies to its own.
//!
//! A few lines of subscriber instead of a logging stack: the log must never block, never end the shim, and cost next to no memory. When nobody
//! reads, lines are dropped.

use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::log::Timestamp;

/// Writes events to a descriptor that does not block.
#[derive(Debug)]
pub(crate) struct Logger {
    to: Option<OwnedFd>,
    most: Level,
}

impl Logger {
    /// Logs to the fifo at `path`; nowhere when there is none.
    pub(crate) fn open(path: &Path, debug: bool) -> Self {
        // Read and write, so that the fifo keeps what is in it while the manager restarts, and writing never raises SIGPIPE.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
        Self {
            to: rustix::fs::open(path, flags, Mode::empty()).ok(),
            most: if debug { Level::DEBUG } else { Level::INFO },
        }
    }

    /// Makes it the log of this process.
    pub(crate) fn install(self) {
        // Fails only if there is one already, and then that one is as good.
        let _ = tracing::subscriber::set_global_default(self);
    }
}

struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={:?}", format!("{value:?}")),
        };
    }
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.to.is_some() && metadata.is_event() && *metadata.level() <= self.most
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(to) = &self.to else { return };
        let mut fields = Fields {
            message: String::new(),
            others: String::new(),
        };
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let time = Timestamp::now().to_string();
        let line = format!(
            "time=\"{time}\" level={level} msg={:?}{}\n",
            fields.message, fields.others
        );
        // Nobody reads, or not fast enough: the line is dropped by design.
        let _ = rustix::io::write(to, line.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
