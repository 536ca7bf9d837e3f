//! Points in time as protobuf's `Timestamp` has them, and in RFC 3339 text.

use serde::{Deserialize, Serialize};

/// Seconds since the epoch and nanoseconds of that second (0 to 999,999,999).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanos: i32,
}

impl Timestamp {
    /// The wall clock.
    #[must_use]
    pub fn now() -> Self {
        std::time::SystemTime::now().into()
    }

    /// Reads RFC 3339 text, with any offset.
    ///
    /// # Errors
    /// `InvalidArgument` with the text.
    pub fn parse(text: &str) -> crate::Result<Self> {
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| crate::Error::InvalidArgument(format!("cannot parse {text:?} as an RFC 3339 time")))?;
        Ok(Self::from_nanos(at.as_nanosecond()))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// From nanoseconds since the epoch.
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000);
        Timestamp {
            seconds: i64::try_from(seconds).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }),
            nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
        }
    }

    /// Later by so many seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Timestamp {
            seconds: self.seconds.saturating_add(seconds),
            nanos: self.nanos,
        }
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(at: std::time::SystemTime) -> Self {
        let nanos = match at.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        Self::from_nanos(nanos)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many digits of the second as it needs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::new(self.seconds, self.nanos) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{}.{:09}", self.seconds, self.nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn text_goes_there_and_back() {
        let at = Timestamp {
            seconds: 1_700_000_000,
            nanos: 120_000_000,
        };
        assert_eq!(at.to_string(), "2023-11-14T22:13:20.12Z");
        assert_eq!(Timestamp::parse(&at.to_string()).unwrap(), at);
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20.12+01:00").unwrap(), at);
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn before_the_epoch_nanos_stay_positive() {
        assert_eq!(
            Timestamp::from_nanos(-1),
            Timestamp {
                seconds: -1,
                nanos: 999_999_999
            }
        );
    }
}
