//! One line of a json-file log, byte for byte as Docker writes it.

use std::fmt;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest piece of a line, in bytes, that goes into one record (moby, `daemon/logger/copier.go`).
pub const PART: usize = 16 * 1024;

/// A point in time, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Timestamp {
    /// The present.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }
}

/// Go's `time.RFC3339Nano`: no trailing zeros in the fraction, none at all when it is zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            let (mut fraction, mut digits) = (self.nanos, 9);
            while fraction % 10 == 0 {
                fraction /= 10;
                digits -= 1;
            }
            write!(f, ".{fraction:0digits$}")?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar (years counted from March, in cycles of 400).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Appends one record to `out`. `newline` says that `text` is a whole line or the last part of one. `attrs` is a JSON object.
pub fn encode(out: &mut Vec<u8>, text: &[u8], newline: bool, stream: &str, attrs: Option<&str>, time: Timestamp) {
    out.push(b'{');
    if newline || !text.is_empty() {
        out.extend_from_slice(b"\"log\":\"");
        escape(out, text);
        if newline {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    out.push(b'"');
    if let Some(attrs) = attrs {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    // Writing to a Vec cannot fail.
    let _ = writeln!(out, "{time}\"}}");
}

/// The inside of a JSON string as Go's encoder has it: HTML characters, U+2028 and U+2029 escaped, each bad byte replaced.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut start = 0;
        for (at, byte) in valid.iter().enumerate() {
            let Some((escaped, length)) = escaped(*byte, &valid[at..]) else {
                continue;
            };
            out.extend_from_slice(&valid[start..at]);
            out.push(b'\\');
            match escaped {
                Escape::Character(character) => out.push(character),
                Escape::Number(number) => {
                    out.push(b'u');
                    out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(number >> shift & 15)]));
                }
            }
            start = at + length;
        }
        out.extend_from_slice(&valid[start..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What follows the backslash.
enum Escape {
    Character(u8),
    Number(u16),
}

/// How the character that begins with `byte` is escaped, and how many bytes of `rest` it has; `None` when it stands for itself.
fn escaped(byte: u8, rest: &[u8]) -> Option<(Escape, usize)> {
    match byte {
        b'"' | b'\\' => Some((Escape::Character(byte), 1)),
        b'\n' => Some((Escape::Character(b'n'), 1)),
        b'\r' => Some((Escape::Character(b'r'), 1)),
        0..b' ' | b'<' | b'>' | b'&' => Some((Escape::Number(byte.into()), 1)),
        0xe2 if rest.starts_with("\u{2028}".as_bytes()) => Some((Escape::Number(0x2028), 3)),
        0xe2 if rest.starts_with("\u{2029}".as_bytes()) => Some((Escape::Number(0x2029), 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], newline: bool, attrs: Option<&str>, nanos: u32) -> String {
        let mut out = Vec::new();
        let time = Timestamp {
            seconds: 1_709_210_096,
            nanos,
        };
        encode(&mut out, text, newline, "stdout", attrs, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_dockers() {
        let expected = "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2024-02-29T12:34:56.12Z\"}\n";
        assert_eq!(line(b"hello", true, None, 120_000_000), expected);
        let expected =
            "{\"log\":\"part\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"time\":\"2024-02-29T12:34:56Z\"}\n";
        assert_eq!(line(b"part", false, Some("{\"a\":\"b\"}"), 0), expected);
        let expected = "{\"log\":\"\\n\",\"stream\":\"stdout\",\"time\":\"2024-02-29T12:34:56.000000001Z\"}\n";
        assert_eq!(line(b"", true, None, 1), expected);
    }

    #[test]
    fn escapes_as_go_does() {
        let mut out = Vec::new();
        escape(
            &mut out,
            "\t<a href=\"x\">&\\\r\n\u{7f}\u{2028}\u{2029}é\u{1f600}\0".as_bytes(),
        );
        let expected = r#"\u0009\u003ca href=\"x\"\u003e\u0026\\\r\n"#.to_owned()
            + "\u{7f}"
            + r"\u2028\u2029é"
            + "\u{1f600}"
            + r"\u0000";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// Go replaces each byte that begins no valid sequence by itself, so a cut three-byte sequence is two replacements.
    #[test]
    fn bad_utf8_is_replaced_byte_by_byte() {
        for (bad, count) in [
            (&b"a\xffb"[..], 1),
            (b"\xe2\x82", 2),
            (b"\xed\xa0\x80", 3),
            (b"\xf0\x9f\x98x", 3),
        ] {
            let mut out = Vec::new();
            escape(&mut out, bad);
            assert_eq!(
                String::from_utf8(out).unwrap().matches("\\ufffd").count(),
                count,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
        assert_eq!(civil(47_541), (2100, 3, 1));
    }
}
