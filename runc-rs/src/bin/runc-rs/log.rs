//! Log lines as runc writes them: callers read the last error from the log file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::args::{Global, LogFormat};

/// Where log lines go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
}

impl Log {
    pub(crate) fn new(global: &Global) -> Self {
        let file = global.log.clone().filter(|path| !path.as_os_str().is_empty());
        Self {
            file,
            format: global.log_format,
        }
    }

    /// An error that ends the program: in the log, and plainly on standard error when the log is a file.
    pub(crate) fn fatal(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            // With a closed standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Something that was ignored.
    pub(crate) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    fn write(&self, level: &str, message: &str) {
        let line = self.line(level, message);
        let written = match &self.file {
            Some(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        // A log that cannot be written must not hide the message.
        if written.is_err() && self.file.is_some() {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn line(&self, level: &str, message: &str) -> String {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match self.format {
            LogFormat::Json => {
                format!("{}\n", serde_json::json!({"level": level, "msg": message, "time": now}))
            }
            LogFormat::Text => format!("time=\"{now}\" level={level} msg={message:?}\n"),
        }
    }
}
