//! The log file, its limits and its older siblings.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Timestamp, encode};
use crate::error::{Error, Result};

/// Records that are collected before they are written, in bytes.
const BATCH: usize = 32 * 1024;

/// A json-file log that is open for appending. Both streams of a container share one.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// Size at which the file is rotated.
    most: Option<u64>,
    files: u32,
    attrs: Option<String>,
    batch: Vec<u8>,
    failing: bool,
}

impl LogFile {
    /// Opens the log at `path`; made when missing. `most`, `files` and `attrs`: see `max-size`, `max-file` and `attrs` at the top of the crate.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(path: &Path, most: Option<u64>, files: u32, attrs: Option<String>) -> Result<Self> {
        let file = open(path).map_err(Error::file("open", path))?;
        let size = file.metadata().map_err(Error::file("stat", path))?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            most,
            files,
            attrs,
            batch: Vec::new(),
            failing: false,
        })
    }

    /// Adds a record; it is in the file after the next [`Self::flush`].
    pub fn record(&mut self, text: &[u8], newline: bool, stream: &str, time: Timestamp) {
        let ahead = self.size + self.batch.len() as u64;
        if self.most.is_some_and(|most| ahead >= most) {
            self.flush();
            self.report(|log| log.rotate(), "rotate");
        }
        encode(&mut self.batch, text, newline, stream, self.attrs.as_deref(), time);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what was collected. A log that cannot be written loses records (as Docker's does), never the container: the failure is told in the
    /// shim's log, once until it is over.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.report(Self::write, "write");
        self.batch.clear();
        self.batch.shrink_to(PAGE);
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.batch);
        if let Err(error) = written {
            // No half record may stay: the next one would be glued to it.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += self.batch.len() as u64;
        Ok(())
    }

    fn report(&mut self, step: impl FnOnce(&mut Self) -> io::Result<()>, what: &str) {
        match step(self) {
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(path = %self.path.display(), %error, "{what} log: records are lost");
            }
            Err(_) => {}
            Ok(()) => self.failing = false,
        }
    }

    /// PATH becomes PATH.1, PATH.1 becomes PATH.2, and so on; with one file only, that is emptied.
    fn rotate(&mut self) -> io::Result<()> {
        if self.files < 2 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        let older = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..self.files - 1).rev() {
            rename_if_there(&older(n), &older(n + 1))?;
        }
        rename_if_there(&self.path, &older(1))?;
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

/// What a batch that is not in use may keep allocated.
const PAGE: usize = 4096;

impl Drop for LogFile {
    fn drop(&mut self) {
        self.flush();
    }
}

fn open(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp { seconds: 0, nanos: 0 };

    #[test]
    fn appends_and_survives_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x-json.log");
        for word in ["one", "two"] {
            LogFile::open(&path, None, 1, None)
                .unwrap()
                .record(word.as_bytes(), true, "stderr", TIME);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("{\"log\":\"two\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00Z\"}\n"));
    }

    #[test]
    fn rotates_between_records_and_keeps_so_many() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, Some(200), 3, None).unwrap();
        for n in 0..20 {
            log.record(format!("line {n:02}").as_bytes(), true, "stdout", TIME);
        }
        log.flush();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        let texts = ["log.2", "log.1", "log"].map(|name| fs::read_to_string(directory.path().join(name)).unwrap());
        let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        assert!(lines.last().unwrap().contains("line 19"));
        let first = 20 - lines.len();
        for (n, line) in (first..).zip(&lines) {
            assert!(line.contains(&format!("line {n:02}")), "{line}");
        }
        assert!(texts[0].len() >= 200 && texts[0].len() < 300);
    }

    #[test]
    fn one_file_is_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, Some(100), 1, None).unwrap();
        for n in 0..9 {
            log.record(format!("line {n}").as_bytes(), true, "stdout", TIME);
        }
        log.flush();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(fs::metadata(&path).unwrap().len() < 200);
    }

    /// A full disk must not leave half a record, nor glue the next one to it.
    #[test]
    fn a_full_disk_loses_whole_records_only() {
        let mut log = LogFile::open(Path::new("/dev/full"), None, 1, None).unwrap();
        log.record(b"lost", true, "stdout", TIME);
        log.flush();
        assert!(log.failing && log.batch.is_empty());
    }
}
