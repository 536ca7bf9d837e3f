//! Writes a json-file log from raw output: for shims that do not write it themselves.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::super::streams::Output;
use super::numbered;
use crate::error::{Error, Result};

/// Longest piece of a line in one record, in bytes.
const PART: usize = 16 << 10;

/// Options of the json-file driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Bytes after which the file is rotated.
    pub(crate) max_size: Option<u64>,
    /// Files kept.
    pub(crate) max_file: usize,
    /// Put into every record.
    pub(crate) attrs: BTreeMap<String, String>,
}

impl LogOptions {
    /// Reads `--log-opt` values, with what `labels`, `env` and `tag` pick from the container.
    ///
    /// # Errors
    /// 400 in Docker's words.
    pub(crate) fn parse(
        options: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
        env: &[String],
    ) -> Result<Self> {
        let mut parsed = Self {
            max_file: 1,
            ..Self::default()
        };
        for (key, value) in options {
            match key.as_str() {
                "max-size" if value == "-1" => {}
                "max-size" => {
                    parsed.max_size = Some(
                        parse_size(value)
                            .ok_or_else(|| Error::invalid(format!("invalid value for max-size: {value}")))?,
                    );
                }
                "max-file" => {
                    parsed.max_file = value
                        .parse()
                        .ok()
                        .filter(|count| *count > 0)
                        .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
                }
                "labels" => parsed
                    .attrs
                    .extend(pick(value, labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))),
                "env" => parsed
                    .attrs
                    .extend(pick(value, env.iter().filter_map(|pair| pair.split_once('=')))),
                "tag" => {
                    parsed.attrs.insert("tag".to_owned(), value.clone());
                }
                "compress" | "labels-regex" | "env-regex" | "mode" | "max-buffer-size" => {}
                _ => {
                    return Err(Error::invalid(format!(
                        "unknown log opt '{key}' for json-file log driver"
                    )));
                }
            }
        }
        if parsed.max_file > 1 && parsed.max_size.is_none() {
            return Err(Error::invalid("max-file is only supported with max-size"));
        }
        Ok(parsed)
    }
}

fn pick<'a>(wanted: &'a str, of: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
    of.filter(|(key, _)| wanted.contains(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `10m`, `512k`, `1g`, `100`, in bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, factor) = match bare.chars().last()? {
        'k' => (&bare[..bare.len() - 1], 1 << 10),
        'm' => (&bare[..bare.len() - 1], 1 << 20),
        'g' => (&bare[..bare.len() - 1], 1 << 30),
        't' => (&bare[..bare.len() - 1], 1u64 << 40),
        _ => (bare, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[derive(Serialize)]
struct Record<'a> {
    log: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: &'a BTreeMap<String, String>,
    time: String,
}

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    partial: [Vec<u8>; 2],
}

/// The log of one container.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    options: LogOptions,
    state: Mutex<State>,
}

impl LogWriter {
    /// Opens the log for appending.
    pub(crate) fn open(path: &Path, options: LogOptions) -> Result<Self> {
        let open = || -> io::Result<State> {
            let file = open_append(path)?;
            let written = file.metadata()?.len();
            Ok(State {
                file,
                written,
                partial: [Vec::new(), Vec::new()],
            })
        };
        let state = open().map_err(|e| Error::failed(format!("open {}", path.display()), e))?;
        Ok(Self {
            path: path.to_owned(),
            options,
            state: Mutex::new(state),
        })
    }

    /// Takes raw output in; whole lines and full parts are written.
    pub(crate) fn write(&self, output: Output, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(output.number()) - 1;
        let mut pending = std::mem::take(&mut state.partial[at]);
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        let mut out = Vec::with_capacity(rest.len() + rest.len() / 4);
        while !rest.is_empty() {
            let window = &rest[..rest.len().min(PART)];
            let length = match window.iter().position(|b| *b == b'\n') {
                Some(newline) => newline + 1,
                None if window.len() == PART => PART,
                None => break,
            };
            self.encode(&mut out, output, &rest[..length]);
            if self.is_full(&state, out.len()) {
                self.append(&mut state, &out);
                out.clear();
            }
            rest = &rest[length..];
        }
        state.partial[at] = rest.to_vec();
        self.append(&mut state, &out);
    }

    /// Writes what is left of unfinished lines.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for output in [Output::Stdout, Output::Stderr] {
            let rest = std::mem::take(&mut state.partial[usize::from(output.number()) - 1]);
            if !rest.is_empty() {
                self.encode(&mut out, output, &rest);
            }
        }
        self.append(&mut state, &out);
    }

    fn encode(&self, out: &mut Vec<u8>, output: Output, text: &[u8]) {
        let record = Record {
            log: &String::from_utf8_lossy(text),
            stream: output.name(),
            attrs: &self.options.attrs,
            time: jiff::Timestamp::now().to_string(),
        };
        // A struct of strings always serializes.
        if serde_json::to_writer(&mut *out, &record).is_ok() {
            out.push(b'\n');
        }
    }

    /// Whether the file is to be rotated after what is about to be written.
    fn is_full(&self, state: &State, more: usize) -> bool {
        self.options
            .max_size
            .is_some_and(|limit| state.written + more as u64 >= limit)
    }

    fn append(&self, state: &mut State, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.options.max_size.is_some_and(|limit| state.written >= limit) {
            match self.rotate() {
                Ok(file) => (state.file, state.written) = (file, 0),
                Err(error) => tracing::error!(log = %self.path.display(), %error, "log not rotated"),
            }
        }
        match state.file.write_all(bytes) {
            Ok(()) => state.written += bytes.len() as u64,
            Err(error) => tracing::error!(log = %self.path.display(), %error, "log not written"),
        }
    }

    fn rotate(&self) -> io::Result<File> {
        for n in (0..self.options.max_file.saturating_sub(1)).rev() {
            match std::fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        let file = open_append(&self.path)?;
        file.set_len(0)?;
        Ok(file)
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("10m"), Some(10 << 20));
        assert_eq!(parse_size("1KB"), Some(1 << 10));
        assert_eq!(parse_size("7"), Some(7));
        assert_eq!(parse_size("x"), None);
    }

    #[test]
    fn lines_parts_and_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let options = LogOptions {
            max_size: Some(20 << 10),
            max_file: 2,
            ..LogOptions::default()
        };
        let log = LogWriter::open(&path, options).unwrap();
        log.write(Output::Stdout, b"one\ntw");
        log.write(Output::Stderr, b"err\n");
        log.write(Output::Stdout, b"o\n");
        log.write(Output::Stdout, &vec![b'x'; PART + 5]);
        log.flush();
        log.write(Output::Stdout, b"last\n");
        let texts = |n| -> Vec<String> {
            let text = std::fs::read_to_string(numbered(&path, n)).unwrap_or_default();
            text.lines()
                .map(|line| Entry::parse(line.as_bytes()).unwrap().text)
                .collect()
        };
        let first = texts(0);
        assert_eq!(first[..3], ["one\n", "err\n", "two\n"]);
        assert_eq!(
            (first[3].len(), first[4].as_str(), first[5].as_str()),
            (PART, "xxxxx", "last\n")
        );
        log.write(Output::Stdout, &vec![b'y'; PART]);
        log.write(Output::Stdout, b"\nnew\n");
        assert_eq!(texts(0), ["\n", "new\n"]);
        assert_eq!(texts(1).len(), 7);
    }

    #[test]
    fn bad_options_are_refused_in_dockers_words() {
        let parse = |key: &str, value: &str| {
            LogOptions::parse(
                &BTreeMap::from([(key.to_owned(), value.to_owned())]),
                &BTreeMap::new(),
                &[],
            )
        };
        assert_eq!(
            parse("nope", "1").unwrap_err().message,
            "unknown log opt 'nope' for json-file log driver"
        );
        assert!(parse("max-file", "0").is_err() && parse("max-file", "3").is_err());
    }
}
