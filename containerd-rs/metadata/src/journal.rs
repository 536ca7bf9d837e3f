//! The journal of relaxed writes: what a killed process must not lose, without waiting for the disk.
//!
//! A relaxed transaction lives in memory only; its changes are appended here first, without a sync. A process that is killed
//! leaves them to the page cache, and the next start does them again. A power cut may take the journal's tail, which
//! its checksums tell: that is the tail of history that a relaxed write may lose. Every transaction has a number, which
//! the database keeps too, so what it has already is not done twice. After each durable transaction the journal is empty.
//!
//! A record is `J1`, the payload's length (4 bytes), the number (8), a checksum over number and payload (8), all little-endian,
//! and the payload: postcard of the changes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Result};

use crate::tx::{Change, broken};

const MAGIC: &[u8; 2] = b"J1";
const HEADER: usize = 22;
/// Larger than any batch of rows; a length beyond is garbage.
const MAX_RECORD: usize = 256 << 20;

/// A transaction: its number, and its changes.
type Record = (u64, Vec<Change>);

/// The open journal.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    length: u64,
}

/// FNV-1a, 64 bits: against torn writes, not against malice.
fn checksum(number: u64, payload: &[u8]) -> u64 {
    let bytes = number.to_le_bytes();
    let all = bytes.iter().chain(payload);
    all.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Journal {
    /// Opens or makes the file; answers with the transactions in it up to the first that is not whole.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Record>)> {
        let on = |call: &str, e| Error::io(format!("{call} {}", path.display()), e);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = opened.map_err(|e| on("open", e))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data).map_err(|e| on("read", e))?;
        let (records, rest) = parse(&data);
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), bytes = rest.len(), "the journal's tail is not whole, and left out");
        }
        let length = data.len() as u64;
        Ok((
            Journal {
                file,
                path: path.to_path_buf(),
                length,
            },
            records,
        ))
    }

    /// Appends a transaction. On an error nothing of it stays.
    pub(crate) fn append(&mut self, number: u64, changes: &[Change]) -> Result<()> {
        let payload = postcard::to_stdvec(changes).map_err(|e| broken("encode the journal", e))?;
        let length = u32::try_from(payload.len()).map_err(|e| broken("encode the journal", e))?;
        let mut record = Vec::with_capacity(HEADER + payload.len());
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&number.to_le_bytes());
        record.extend_from_slice(&checksum(number, &payload).to_le_bytes());
        record.extend_from_slice(&payload);
        let at = self.length;
        let written = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.write_all(&record));
        if let Err(e) = written {
            self.cut(at)?;
            return Err(Error::io(format!("write {}", self.path.display()), e));
        }
        self.length += record.len() as u64;
        Ok(())
    }

    /// Where it ends now, for [`Journal::cut`].
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Takes back what was appended behind a place; 0: all of it, since the database has it on disk.
    pub(crate) fn cut(&mut self, length: u64) -> Result<()> {
        if self.length != length || length != 0 {
            let cut = self.file.set_len(length);
            cut.map_err(|e| Error::io(format!("truncate {}", self.path.display()), e))?;
        }
        self.length = length;
        Ok(())
    }
}

/// The whole records at the beginning, and what is behind them.
fn parse(mut data: &[u8]) -> (Vec<Record>, &[u8]) {
    let mut records = Vec::new();
    while let Some((record, rest)) = first(data) {
        records.push(record);
        data = rest;
    }
    (records, data)
}

fn first(data: &[u8]) -> Option<(Record, &[u8])> {
    let (header, rest) = data.split_at_checked(HEADER)?;
    let length = u32::from_le_bytes(header.get(2..6)?.try_into().ok()?) as usize;
    let number = u64::from_le_bytes(header.get(6..14)?.try_into().ok()?);
    let sum = u64::from_le_bytes(header.get(14..22)?.try_into().ok()?);
    if header.get(..2)? != MAGIC || length > MAX_RECORD {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    if checksum(number, payload) != sum {
        return None;
    }
    Some(((number, postcard::from_bytes(payload).ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u8) -> Change {
        (1, vec![n; 3], n.is_multiple_of(2).then(|| vec![n; 100]))
    }

    #[test]
    fn what_was_appended_is_read_up_to_the_first_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, records) = Journal::open(&path).unwrap();
        assert!(records.is_empty());
        for n in 1..=5u8 {
            journal.append(u64::from(n), &[change(n), change(n + 1)]).unwrap();
        }
        let before_last = {
            let whole = journal.length();
            journal.append(6, &[change(6)]).unwrap();
            journal.cut(whole).unwrap();
            whole
        };
        drop(journal);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, before_last);
        let (all, rest) = parse(&bytes);
        assert_eq!((all.len(), rest.len()), (5, 0));
        assert_eq!(all[4], (5, vec![change(5), change(6)]));
        for cut in 0..bytes.len() {
            let (some, _) = parse(&bytes[..cut]);
            assert_eq!(some[..], all[..some.len()]);
            assert!(some.len() < 5);
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let (some, _) = parse(&damaged);
            assert_eq!(some[..], all[..some.len()], "{at}");
            assert!(some.len() < 5);
        }
    }
}
