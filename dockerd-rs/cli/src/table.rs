//! Tables of text, and the human forms of what is in them.

/// Columns as wide as their widest cell, three spaces apart, as `docker ps` prints them.
pub(crate) fn print(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain(std::iter::once(heading[column].len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    println!("{}", line(heading));
    for row in rows {
        println!("{}", line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}

/// The first twelve characters of an id, without its algorithm.
pub(crate) fn short_id(id: &str, whole: bool) -> String {
    if whole {
        id.to_owned()
    } else {
        id.trim_start_matches("sha256:").chars().take(12).collect()
    }
}

/// A text in double quotes, escaped as Go's `%q` does.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            other if other.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(other))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Bytes in decimal units, three or four digits: `1.23MB`.
pub(crate) fn size(bytes: i64) -> String {
    let mut unit = 0;
    // A table shows four digits; what a float loses is beyond them.
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64;
    while value >= 1000.0 && unit < 5 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", ["B", "kB", "MB", "GB", "TB", "PB"][unit])
}

/// How long ago a time is, in words, as `docker` says it.
pub(crate) fn ago(seconds: i64) -> String {
    let words = match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        172_800..1_209_600 => format!("{} days", seconds / 86_400),
        1_209_600..5_184_000 => format!("{} weeks", seconds / 604_800),
        5_184_000..63_072_000 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    };
    format!("{words} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_gos() {
        assert_eq!(quote("a 'b' \"c\" \\ \n\u{1}ä"), r#""a 'b' \"c\" \\ \n\x01ä""#);
    }

    #[test]
    fn sizes_and_ages_are_dockers() {
        assert_eq!(
            [size(0), size(999), size(1234), size(12_345_678)],
            ["0B", "999B", "1.23kB", "12.3MB"]
        );
        assert_eq!(
            [ago(0), ago(61), ago(7200)],
            ["Less than a second ago", "About a minute ago", "2 hours ago"]
        );
    }
}
