//! What CRIU wrote into its log before it failed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// How many lines before an error are told.
const BEFORE: usize = 5;
/// At most so much of a log is read, in bytes, and so many lines are told.
const LIMIT: u64 = 16 << 20;
const LINES: usize = 60;

/// The lines with errors and those just before them, numbered, in the form runc quotes them.
pub(crate) fn quote(path: &Path) -> Vec<String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) => return vec![format!("open {}: {error}", path.display())],
    };
    let mut quoted = Vec::new();
    let mut before: VecDeque<(usize, String)> = VecDeque::new();
    let mut last = 0;
    for (index, line) in BufReader::new(file.take(LIMIT)).lines().enumerate() {
        let Ok(line) = line else { break };
        let is_error = line.contains("Error");
        before.push_back((index + 1, line));
        if !is_error {
            if before.len() > BEFORE {
                before.pop_front();
            }
            continue;
        }
        if quoted.is_empty() {
            quoted.push(format!("--- Quoting {:?}", path.display().to_string()));
        } else if before.front().is_some_and(|(number, _)| *number > last + 1) {
            quoted.push("...".into());
        }
        for (number, line) in before.drain(..) {
            quoted.push(format!("{number}:{line}"));
            last = number;
        }
        if quoted.len() > LINES {
            break;
        }
    }
    if !quoted.is_empty() {
        quoted.push("---".into());
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_quoted_with_what_led_to_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text: Vec<String> = (1..=20).map(|n| format!("line {n}")).collect();
        text[9] = "Error (a)".into();
        text[19] = "Error (b)".into();
        std::fs::write(file.path(), text.join("\n")).unwrap();
        let quoted = quote(file.path());
        assert_eq!(quoted[1], "5:line 5");
        assert_eq!(quoted[6], "10:Error (a)");
        assert_eq!(quoted[7], "...");
        assert_eq!(quoted[8], "15:line 15");
        assert_eq!(quoted.last().unwrap(), "---");
        assert!(quote(Path::new("/nonexistent"))[0].starts_with("open /nonexistent"));
    }
}
