//! One record of a json-file log.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A line, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Text, with its newline unless more of the line follows.
    pub(crate) text: String,
    /// Whether it came from standard error.
    pub(crate) stderr: bool,
    /// Nanoseconds since 1970.
    pub(crate) nanos: i128,
    /// `attrs` of the log.
    pub(crate) attrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: String,
}

impl Entry {
    /// Reads one record; none when it is damaged (a machine that lost power leaves half a line).
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let time: jiff::Timestamp = line.time.parse().ok()?;
        Some(Self {
            text: line.log,
            stderr: line.stream == "stderr",
            nanos: time.as_nanosecond(),
            attrs: line.attrs,
        })
    }

    /// What `docker logs` shows: the text, behind its time and its details where asked for.
    pub(crate) fn render(&self, timestamps: bool, details: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 36);
        if timestamps {
            out.extend_from_slice(format_nanos(self.nanos).as_bytes());
            out.push(b' ');
        }
        if details {
            let pairs: Vec<_> = self
                .attrs
                .iter()
                .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
                .collect();
            out.extend_from_slice(pairs.join(",").as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(self.text.as_bytes());
        out
    }
}

/// Query escaping, as details have it.
fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// RFC 3339 with nine digits of a second.
pub(crate) fn format_nanos(nanos: i128) -> String {
    match jiff::Timestamp::from_nanosecond(nanos) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => super::super::model::ZERO_TIME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_docker_shows_it() {
        let line = br#"{"log":"a \u003c b\n","stream":"stderr","attrs":{"x":"1 2"},"time":"2026-01-02T03:04:05.1Z"}"#;
        let entry = Entry::parse(line).unwrap();
        assert!(entry.stderr);
        assert_eq!(
            entry.render(true, true),
            b"2026-01-02T03:04:05.100000000Z x=1+2 a < b\n"
        );
        assert_eq!(entry.render(false, false), b"a < b\n");
        assert_eq!(Entry::parse(b"{\"log\":\"cut"), None);
    }
}
