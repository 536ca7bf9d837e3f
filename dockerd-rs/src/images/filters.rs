//! The `filters` parameter, and the globs, labels and times in it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::error::{Error, Result};

/// Filters as the API takes them: `{"label":["a=b"]}` or the older `{"label":{"a=b":true}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Parses the parameter; nothing is no filter.
    ///
    /// # Errors
    /// 400 for what is not of either form, and for keys that are not `known`.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || Error::invalid("invalid filter");
        let parsed: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| invalid())?;
        let mut by_key = BTreeMap::new();
        for (key, values) in parsed {
            if !known.contains(&key.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{key}'")));
            }
            let values = match values {
                Value::Array(list) => {
                    let texts = list.iter().map(|v| v.as_str().map(str::to_owned));
                    texts.collect::<Option<Vec<_>>>().ok_or_else(invalid)?
                }
                Value::Object(map) => map
                    .iter()
                    .filter(|(_, on)| **on != Value::Bool(false))
                    .map(|(k, _)| k.clone())
                    .collect(),
                _ => return Err(invalid()),
            };
            by_key.insert(key, values);
        }
        Ok(Self { by_key })
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> &[String] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// The same without a key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let mut others = self.clone();
        others.by_key.remove(key);
        others
    }

    /// The one boolean of a key.
    ///
    /// # Errors
    /// 400 when it is neither true nor false, or both.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let truth = |text: &str| match text {
            "true" | "1" | "t" | "T" | "True" | "TRUE" => Some(true),
            "false" | "0" | "f" | "F" | "False" | "FALSE" => Some(false),
            _ => None,
        };
        match self.get(key) {
            [] => Ok(None),
            [one] => truth(one)
                .map(Some)
                .ok_or_else(|| Error::invalid(format!("invalid filter '{key}={one}'"))),
            many => Err(Error::invalid(format!("invalid filter '{key}=[{}]'", many.join(" ")))),
        }
    }

    /// Whether labels have every one that `label` asks for and none that `label!` forbids.
    pub fn labels_match(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let has = |wanted: &String| {
            let (key, value) = wanted
                .split_once('=')
                .map_or((wanted.as_str(), None), |(k, v)| (k, Some(v)));
            let found = labels.and_then(|l| l.get(key));
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }
}

/// A moment: unix seconds (with a fraction), RFC 3339, a date, or a Go duration before now (`24h`, `1h30m`).
///
/// # Errors
/// 400 for anything else.
pub fn moment(text: &str) -> Result<Timestamp> {
    let invalid = || Error::invalid(format!("failed to parse value as time or duration: {text:?}"));
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return day
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|z| z.timestamp())
            .map_err(|_| invalid());
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return time
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|z| z.timestamp())
            .map_err(|_| invalid());
    }
    let seconds = text.split('.').next().unwrap_or_default();
    if let Ok(seconds) = seconds.parse::<i64>() {
        return Timestamp::from_second(seconds).map_err(|_| invalid());
    }
    let span = duration(text).ok_or_else(invalid)?;
    Timestamp::now().checked_sub(span).map_err(|_| invalid())
}

/// Go's durations: numbers with `h`, `m`, `s`, `ms`, one after the other.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    (!text.is_empty())
        .then(|| SignedDuration::try_from_secs_f64(total).ok())
        .flatten()
}

/// Go's `path.Match`: `*` and `?` do not cross a slash, `[a-z]` is a class, a backslash quotes.
pub fn glob(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    glob_at(&p, &n)
}

fn glob_at(p: &[char], n: &[char]) -> bool {
    match p.first() {
        None => n.is_empty(),
        Some('*') => {
            let reach = n.iter().position(|c| *c == '/').unwrap_or(n.len());
            (0..=reach).any(|skip| glob_at(&p[1..], &n[skip..]))
        }
        Some('?') => n.first().is_some_and(|c| *c != '/') && glob_at(&p[1..], &n[1..]),
        Some('[') => {
            let Some(close) = p.iter().skip(2).position(|c| *c == ']').map(|at| at + 2) else {
                return false;
            };
            let negated = p[1] == '^';
            let class = &p[if negated { 2 } else { 1 }..close];
            n.first().is_some_and(|c| in_class(class, *c) != negated) && glob_at(&p[close + 1..], &n[1..])
        }
        Some('\\') if p.len() > 1 => n.first() == Some(&p[1]) && glob_at(&p[2..], &n[1..]),
        Some(c) => n.first() == Some(c) && glob_at(&p[1..], &n[1..]),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    let mut at = 0;
    while at < class.len() {
        if at + 2 < class.len() && class[at + 1] == '-' {
            if (class[at]..=class[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else {
            if class[at] == c {
                return true;
            }
            at += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_filters_are_read_and_unknown_keys_refused() {
        let known = ["label", "dangling"];
        let new = Filters::parse(r#"{"label":["a=b"],"dangling":["true"]}"#, &known).unwrap();
        assert_eq!(
            new,
            Filters::parse(r#"{"label":{"a=b":true},"dangling":{"true":true}}"#, &known).unwrap()
        );
        assert_eq!(new.boolean("dangling").unwrap(), Some(true));
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert!(new.labels_match(Some(&labels)));
        assert!(!new.labels_match(None));
        assert_eq!(
            Filters::parse(r#"{"x":["y"]}"#, &known).unwrap_err().message,
            "invalid filter 'x'"
        );
        for bad in ["[]", "{", r#"{"label":7}"#, r#"{"label":[7]}"#] {
            assert!(Filters::parse(bad, &known).is_err(), "{bad}");
        }
    }

    #[test]
    fn globs_stop_at_slashes() {
        for (pattern, name, want) in [
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?x:[a-c]*", "box:amd", true),
            ("b?x:[^a-c]*", "box:amd", false),
            ("[", "[", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn moments_are_times_or_durations_ago() {
        assert_eq!(
            moment("1700000000").unwrap(),
            Timestamp::from_second(1_700_000_000).unwrap()
        );
        assert_eq!(moment("1970-01-02").unwrap(), Timestamp::from_second(86400).unwrap());
        assert!(moment("1h30m").unwrap() < Timestamp::now());
        for bad in ["", "x", "1y", "h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
