//! Reads a log from where the request says, through rotated files, and on while it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::super::container::Life;
use super::{Entry, numbered, tail};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Most bytes of one record; anything longer is damage.
const LONGEST: usize = 1 << 20;
/// Rotated files that are looked for.
const FILES: usize = 1000;
/// Looks at the names before a busy rotation is taken as it is.
const LOOKS: usize = 100;

/// What of the log is wanted.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    /// The last so many lines; none for all.
    pub(crate) tail: Option<usize>,
    /// Not before, in nanoseconds since 1970.
    pub(crate) since: Option<i128>,
    /// Not after.
    pub(crate) until: Option<i128>,
    /// On while it grows, as long as the container runs.
    pub(crate) follow: bool,
}

/// Sends entries until the log's end, the container's end when it follows, or until nobody listens. Runs on a thread that may block.
pub(crate) fn read(path: &Path, options: &ReadOptions, life: &watch::Receiver<Life>, sender: &mpsc::Sender<Entry>) {
    let mut reader = match Reader::start(path, options.tail) {
        Ok(Some(reader)) => reader,
        Ok(None) if !options.follow => return,
        Ok(None) => Reader::empty(path),
        Err(error) => return tracing::warn!(log = %path.display(), %error, "log not read"),
    };
    let mut pause = Duration::from_millis(5);
    loop {
        // Asked before reading, so that what was written before the end is still read.
        let ended = !life.borrow().running;
        match reader.pass(options, sender) {
            Ok(Progress::Stop) => return,
            Ok(Progress::Some) => pause = Duration::from_millis(5),
            Ok(Progress::Nothing) if !options.follow || ended || sender.is_closed() => return,
            Ok(Progress::Nothing) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(80));
            }
            Err(error) => return tracing::warn!(log = %path.display(), %error, "log not read"),
        }
    }
}

enum Progress {
    Some,
    Nothing,
    Stop,
}

struct Reader {
    path: PathBuf,
    file: Option<File>,
    inode: u64,
    offset: u64,
    pending: Vec<u8>,
}

impl Reader {
    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            inode: 0,
            offset: 0,
            pending: Vec::new(),
        }
    }

    /// Opens the file where the wanted lines begin: the newest files hold the tail.
    fn start(path: &Path, lines: Option<usize>) -> io::Result<Option<Self>> {
        let mut wanted = lines.unwrap_or(usize::MAX);
        let mut best = None;
        for (n, inode) in files(path) {
            let Some(file) = open(path, n, inode)? else {
                return Self::start(path, lines);
            };
            let length = file.metadata()?.len();
            let (offset, found) = if lines.is_some() {
                tail::offset(&file, length, wanted)?
            } else {
                (0, 0)
            };
            let full = lines.is_some() && found >= wanted;
            wanted -= found.min(wanted);
            best = Some(Self {
                path: path.to_owned(),
                file: Some(file),
                inode,
                offset,
                pending: Vec::new(),
            });
            if full || wanted == 0 {
                break;
            }
        }
        Ok(best)
    }

    /// Reads what there is now.
    fn pass(&mut self, options: &ReadOptions, sender: &mpsc::Sender<Entry>) -> io::Result<Progress> {
        let mut any = false;
        loop {
            if self.fill()? {
                any = true;
                if !self.emit(options, sender) {
                    return Ok(Progress::Stop);
                }
            } else if !self.next_file()? {
                return Ok(if any { Progress::Some } else { Progress::Nothing });
            }
        }
    }

    /// Reads a chunk of the present file; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        if file.metadata()?.len() < self.offset {
            // Emptied instead of rotated.
            self.offset = 0;
            self.pending.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = vec![0; CHUNK];
        let count = file.read(&mut chunk)?;
        self.offset += count as u64;
        self.pending.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// Sends the whole lines of what was read; false when no more is wanted.
    fn emit(&mut self, options: &ReadOptions, sender: &mpsc::Sender<Entry>) -> bool {
        let mut start = 0;
        while let Some(length) = self.pending[start..].iter().position(|b| *b == b'\n') {
            let line = &self.pending[start..start + length];
            start += length + 1;
            let Some(entry) = Entry::parse(line) else { continue };
            if options.since.is_some_and(|since| entry.nanos < since) {
                continue;
            }
            if options.until.is_some_and(|until| entry.nanos > until) || sender.blocking_send(entry).is_err() {
                return false;
            }
        }
        self.pending.drain(..start);
        if self.pending.len() > LONGEST {
            self.pending.clear();
        }
        true
    }

    /// Goes on to the file that followed the present one, if there is one by now.
    fn next_file(&mut self) -> io::Result<bool> {
        let files = files(&self.path);
        let next = match files.iter().position(|(_, inode)| *inode == self.inode) {
            Some(0) => return Ok(false),
            Some(at) => files.get(at - 1),
            // None read yet, or ours was deleted: the oldest there is.
            None => files.last(),
        };
        let Some(&(n, inode)) = next else { return Ok(false) };
        // Written after its end was read and before it was rotated; from now on nothing more comes.
        if let Some(file) = &self.file
            && file.metadata()?.len() > self.offset
        {
            return Ok(true);
        }
        // Renamed meanwhile: the next pass finds it under its new name.
        let Some(file) = open(&self.path, n, inode)? else {
            return Ok(false);
        };
        (self.inode, self.offset, self.file) = (inode, 0, Some(file));
        self.pending.clear();
        Ok(true)
    }
}

/// The log's files from the newest on, with their inodes, as they stood at one moment: two looks that agree. A rotation renames one file after
/// the other, so at any moment at most one number is missing.
fn files(path: &Path) -> Vec<(usize, u64)> {
    let look = || {
        let mut found = Vec::new();
        let mut gaps = 0;
        for n in 0..FILES {
            match std::fs::metadata(numbered(path, n)) {
                Ok(metadata) => found.push((n, metadata.ino())),
                Err(_) => gaps += 1,
            }
            if gaps > 1 {
                break;
            }
        }
        found
    };
    let mut last = look();
    for _ in 0..LOOKS {
        let again = look();
        if again == last {
            break;
        }
        last = again;
    }
    last
}

/// Opens a file if it still has this number.
fn open(path: &Path, n: usize, inode: u64) -> io::Result<Option<File>> {
    match File::open(numbered(path, n)) {
        Ok(file) => Ok((file.metadata()?.ino() == inode).then_some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogOptions, LogWriter};
    use super::*;
    use crate::engine::streams::Output;

    fn collect(path: &Path, options: &ReadOptions) -> Vec<String> {
        let (_life, watcher) = watch::channel(Life::default());
        let (sender, mut receiver) = mpsc::channel(10_000);
        read(path, options, &watcher, &sender);
        drop(sender);
        std::iter::from_fn(|| receiver.blocking_recv())
            .map(|entry| entry.text.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn tail_reaches_into_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = LogWriter::open(
            &path,
            LogOptions {
                max_size: Some(2000),
                max_file: 5,
                ..LogOptions::default()
            },
        )
        .unwrap();
        for n in 0..100 {
            log.write(Output::Stdout, format!("{n}\n").as_bytes());
        }
        let all = ReadOptions {
            tail: None,
            since: None,
            until: None,
            follow: false,
        };
        assert_eq!(
            collect(&path, &all),
            (0..100).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        for count in [0, 1, 3, 40, 99, 100, 500] {
            let options = ReadOptions {
                tail: Some(count),
                ..all.clone()
            };
            let expected: Vec<_> = (100 - count.min(100)..100).map(|n| n.to_string()).collect();
            assert_eq!(collect(&path, &options), expected, "{count}");
        }
    }

    #[test]
    fn following_loses_and_doubles_nothing_across_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (life, watcher) = watch::channel(Life {
            running: true,
            ..Life::default()
        });
        let (sender, mut receiver) = mpsc::channel(10_000);
        let options = ReadOptions {
            tail: None,
            since: None,
            until: None,
            follow: true,
        };
        let reading = {
            let path = path.clone();
            std::thread::spawn(move || read(&path, &options, &watcher, &sender))
        };
        let log = LogWriter::open(
            &path,
            LogOptions {
                max_size: Some(3000),
                max_file: 200,
                ..LogOptions::default()
            },
        )
        .unwrap();
        for n in 0..2000 {
            log.write(Output::Stdout, format!("{n}\n").as_bytes());
        }
        life.send_modify(|life| life.running = false);
        reading.join().unwrap();
        let lines: Vec<_> = std::iter::from_fn(|| receiver.blocking_recv())
            .map(|entry| entry.text.trim_end().to_owned())
            .collect();
        assert_eq!(lines, (0..2000).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
