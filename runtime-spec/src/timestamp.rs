//! Points in time as Go's `time.RFC3339Nano` prints them: UTC, up to nine digits of fraction, trailing zeros left out.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// A text that is no RFC 3339 time, or a number outside the years that can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parsing time {0:?}: not RFC 3339")]
pub struct Error(String);

/// Go's zero time, `0001-01-01T00:00:00Z`, in seconds of the Unix epoch.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

impl Timestamp {
    /// Now.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// Go's zero value, which Docker's JSON has where nothing happened yet: `0001-01-01T00:00:00Z`.
    pub fn go_zero() -> Self {
        Self(jiff::Timestamp::from_second(GO_ZERO_SECONDS).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Whether this is Go's zero value.
    pub fn is_go_zero(self) -> bool {
        self == Self::go_zero()
    }

    /// From seconds and nanoseconds of the Unix epoch (as in a protobuf timestamp).
    ///
    /// # Errors
    /// Years outside -9999 to 9999.
    pub fn from_unix(seconds: i64, nanoseconds: i32) -> Result<Self, Error> {
        let inner = jiff::Timestamp::new(seconds, nanoseconds);
        inner
            .map(Self)
            .map_err(|_| Error(format!("{seconds}.{nanoseconds:09}")))
    }

    /// Whole seconds of the Unix epoch, towards the past.
    pub fn seconds(self) -> i64 {
        self.unix().0
    }

    /// Seconds of the Unix epoch and nanoseconds (0 to 999,999,999) after them.
    pub fn unix(self) -> (i64, i32) {
        let nanoseconds = self.0.as_nanosecond();
        let second = 1_000_000_000;
        (
            nanoseconds.div_euclid(second) as i64,
            nanoseconds.rem_euclid(second) as i32,
        )
    }

    /// Nanoseconds of the Unix epoch; the ends of the range where an `i64` cannot hold them.
    pub fn unix_nanoseconds(self) -> i64 {
        let all = self.0.as_nanosecond();
        i64::try_from(all).unwrap_or(if all < 0 { i64::MIN } else { i64::MAX })
    }

    /// The point in time for jiff's own arithmetic.
    pub fn as_jiff(self) -> jiff::Timestamp {
        self.0
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(inner: jiff::Timestamp) -> Self {
        Self(inner)
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    fn try_from(time: SystemTime) -> Result<Self, Error> {
        jiff::Timestamp::try_from(time)
            .map(Self)
            .map_err(|_| Error(format!("{time:?}")))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// RFC 3339 with `Z` or an offset.
    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| Error(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints_it() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
        ];
        for (seconds, nanoseconds, text) in cases {
            let time = Timestamp::from_unix(seconds, nanoseconds).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), time);
            assert_eq!(time.unix(), (seconds, nanoseconds));
        }
        assert_eq!(Timestamp::go_zero().to_string(), "0001-01-01T00:00:00Z");
        assert!("0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap().is_go_zero());
        assert_eq!(Timestamp::from_unix(-1, 500_000_000).unwrap().unix(), (-1, 500_000_000));
    }

    #[test]
    fn offsets_are_taken_and_nonsense_is_not() {
        let time: Timestamp = "2023-11-15T00:13:20.5+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.5Z");
        for text in ["", "yesterday", "2023-11-14", "2023-13-14T22:13:20Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert!(Timestamp::from_unix(i64::MAX, 0).is_err());
    }
}
