//! Docker's json-file log: the format, and the file with its rotation.

mod file;
mod line;
mod split;

pub use file::LogFile;
pub use line::{PART, Timestamp, encode};
pub use split::Splitter;
