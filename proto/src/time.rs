//! Time stamps.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// The present time, UTC, to the nanosecond.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}
