//! Log lines as runc writes them (logrus): callers read the last error from the log file.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::time::Instant;

use crate::Failure;
use crate::values::Values;
use runc_rs::Error;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `key=value`.
    Text,
    /// With colours, for somebody who looks on.
    Terminal,
    /// One JSON object a line.
    Json,
}

/// How grave a line is: the word, its short form and its colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn words(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Debug => ("debug", "DEBU", 37),
            Self::Warning => ("warning", "WARN", 33),
            Self::Error => ("error", "ERRO", 31),
        }
    }
}

/// Where log lines go.
#[derive(Debug)]
pub(crate) struct Log {
    /// Standard error where there is none.
    file: Option<File>,
    format: Format,
    debug: bool,
    start: Instant,
}

impl Log {
    /// On standard error, as text.
    pub(crate) fn plain() -> Self {
        Self {
            file: None,
            format: if std::io::stderr().is_terminal() {
                Format::Terminal
            } else {
                Format::Text
            },
            debug: false,
            start: Instant::now(),
        }
    }

    /// As the global flags say.
    pub(crate) fn new(global: &Values) -> Result<Self, Failure> {
        let mut log = Self {
            debug: global.switch("debug"),
            ..Self::plain()
        };
        if let Some(path) = global.path("log") {
            let opened = OpenOptions::new().append(true).create(true).open(&path);
            let failed = |source| Error::File {
                action: "open",
                path: path.clone(),
                source,
            };
            log.file = Some(opened.map_err(failed)?);
            log.format = Format::Text;
        }
        match global.text("log-format")? {
            None | Some("text") => {}
            Some("json") => log.format = Format::Json,
            Some(other) => return Err(Failure::new(format!("invalid log-format: {other}"))),
        }
        Ok(log)
    }

    /// An error that ends the program: in the log, and plainly on standard error when the log is a file.
    pub(crate) fn fatal(&self, message: &str) {
        self.write(Level::Error, message);
        if self.file.is_some() {
            // With a closed standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Something that failed, while the program goes on.
    pub(crate) fn error(&self, message: &str) {
        self.write(Level::Error, message);
    }

    /// Something that was ignored.
    pub(crate) fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// For `--debug`: the message is made only then.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write(Level::Debug, &message());
        }
    }

    fn write(&self, level: Level, message: &str) {
        let line = self.line(level, message);
        let written = self.file.as_ref().map(|mut file| file.write_all(line.as_bytes()));
        // A log that cannot be written must not hide the message.
        if !matches!(written, Some(Ok(()))) {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn line(&self, level: Level, message: &str) -> String {
        let (word, short, colour) = level.words();
        let now = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match self.format {
            Format::Json => format!(
                "{}\n",
                serde_json::json!({"level": word, "msg": message, "time": now()})
            ),
            Format::Text => format!("time=\"{}\" level={word} msg={}\n", now(), quoted(message)),
            Format::Terminal => {
                let seconds = self.start.elapsed().as_secs();
                format!("\x1b[{colour}m{short}\x1b[0m[{seconds:04}] {message:<44} \n")
            }
        }
    }
}

/// A value as logrus writes it: bare when it is one plain word, else quoted as Go does.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_go_does() {
        for (text, want) in [
            ("word", "word"),
            ("a/b-c.d", "a/b-c.d"),
            ("two words", "\"two words\""),
            ("", "\"\""),
            ("say \"x\"\n\u{1b}'ä", "\"say \\\"x\\\"\\n\\x1b'ä\""),
        ] {
            assert_eq!(quoted(text), want);
        }
    }
}
