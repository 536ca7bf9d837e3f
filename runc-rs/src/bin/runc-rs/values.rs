//! The values of flags.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;

/// Flags in the order in which they were given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(Vec<(&'static str, OsString)>);

impl Values {
    pub(crate) fn push(&mut self, name: &'static str, value: OsString) {
        self.0.push((name, value));
    }

    #[cfg(test)]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.0.iter().map(|(name, value)| (*name, value.as_os_str()))
    }

    fn last(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().rev().find(|(own, _)| *own == name);
        found.map(|(_, value)| value.as_os_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// A path; an empty one is as good as none, as in runc.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.last(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A text; an empty one is as good as none, as in runc.
    ///
    /// # Errors
    /// Text that is not UTF-8 has no place in JSON.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        self.last(name)
            .filter(|value| !value.is_empty())
            .map(|value| utf8(name, value))
            .transpose()
    }

    /// All values of a flag that may be given again and again.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, Failure> {
        self.0
            .iter()
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| utf8(name, value).map(str::to_owned))
            .collect()
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        self.last(name)
            .and_then(|value| crate::parse::switch(&value.to_string_lossy()))
            .unwrap_or(false)
    }

    /// A number, which the parser has checked; 0 where it is absent.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.last(name)
            .and_then(|value| value.to_str()?.parse().ok())
            .unwrap_or(0)
    }

    /// All numbers of a flag that may be given again and again.
    pub(crate) fn numbers(&self, name: &str) -> Vec<i64> {
        let own = self.0.iter().filter(|(own, _)| *own == name);
        own.filter_map(|(_, value)| value.to_str()?.parse().ok()).collect()
    }

    /// A time, which the parser has checked.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        self.last(name).and_then(|value| duration(value.to_str()?))
    }
}

fn utf8<'a>(name: &str, value: &'a OsStr) -> Result<&'a str, Failure> {
    value
        .to_str()
        .ok_or_else(|| Failure::new(format!("invalid value {value:?} for flag -{name}: not UTF-8")))
}

/// A time as Go writes it: numbers, each with its unit, without a space; or a plain 0. Times before now are taken for none.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if let Some(rest) = text.strip_prefix('-') {
        return duration(rest).map(|_| Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total += number.parse::<f64>().ok()? * seconds(unit)?;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok()
}

fn seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        for (text, millis) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("-1s", Some(0)),
            ("7", None),
            ("x", None),
            ("5y", None),
            ("", None),
            ("s", None),
            ("1.2.3s", None),
            ("1e400s", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text:?}");
        }
    }
}
