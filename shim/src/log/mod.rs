//! Docker's json-file log: the format, and the file with its rotation.

mod line;

pub use line::{PART, Timestamp, encode};
