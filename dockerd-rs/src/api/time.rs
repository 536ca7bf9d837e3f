//! Points in time of queries: unix time with a fraction, RFC 3339, or a duration before now.

use crate::error::{Error, Result};

const SECOND: i128 = 1_000_000_000;

/// Reads `1700000000.123456789`, `2026-01-02T03:04:05Z`, `10m`.
///
/// # Errors
/// 400 for anything else.
pub(crate) fn point(text: &str) -> Result<jiff::Timestamp> {
    let wrong = || Error::invalid(format!("invalid time: {text:?}"));
    if let Some(nanos) = unix(text) {
        return jiff::Timestamp::from_nanosecond(nanos).map_err(|_| wrong());
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(stamp);
    }
    let span = text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?;
    jiff::Timestamp::now().checked_sub(span).map_err(|_| wrong())
}

/// Nanoseconds of a unix time.
fn unix(text: &str) -> Option<i128> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i128 = seconds.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let nanos: i128 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<9}").parse().ok()?
    };
    Some(whole * SECOND + nanos)
}

/// The point in time of a query, in nanoseconds since 1970; none when absent, empty or zero.
///
/// # Errors
/// As [`point`].
pub(crate) fn nanos(text: Option<&str>) -> Result<Option<i128>> {
    match text {
        None | Some("" | "0") => Ok(None),
        Some(text) => point(text).map(|stamp| Some(stamp.as_nanosecond())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(nanos(Some("12.5")).unwrap(), Some(12_500_000_000));
        assert_eq!(nanos(Some("0")).unwrap(), None);
        assert_eq!(point("1970-01-01T00:00:01Z").unwrap().as_second(), 1);
        assert!(point("10m").unwrap() < jiff::Timestamp::now());
        assert!(point("nonsense").is_err());
    }
}
