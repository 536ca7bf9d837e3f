//! tar archives as layers use them: ustar, PAX and GNU, read and written.

pub(crate) mod entry;
mod field;
mod pax;
pub(crate) mod reader;
mod sparse;
pub(crate) mod writer;

pub(crate) use entry::{Entry, Kind};
pub(crate) use reader::TarReader;
pub(crate) use writer::TarWriter;
