//! Reading: members one after the other, their data in pieces, nothing kept.
//!
//! Where a PAX header gives a size, that is the size: of the file, and of the data that is skipped to reach the next header.
//! (Readers that took one from here and one from there could be shown two different archives in one file.)

use std::io::BufRead;

use containerd_rs_core::{Error, Result};
use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::field::{self, unsigned};
use super::pax::{self, Pax};

const BLOCK: usize = 512;
/// The largest extended header or long name, as in Go's reader.
const MAX_SPECIAL: u64 = 1 << 20;

/// A reader of members.
pub(crate) struct TarReader<R> {
    source: R,
    /// Bytes of the current member's data that were not taken yet.
    remaining: u64,
    /// Bytes between the data and the next header.
    padding: u64,
}

pub(super) fn invalid(what: &str) -> Error {
    Error::InvalidArgument(format!("archive/tar: invalid tar header: {what}"))
}

pub(super) fn truncated() -> Error {
    Error::InvalidArgument("archive/tar: unexpected EOF".into())
}

fn broken(error: std::io::Error) -> Error {
    // What the decompressor says of broken bytes is about the request; the rest is about the machine.
    match error.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::UnexpectedEof => {
            Error::InvalidArgument(format!("failed to read layer: {error}"))
        }
        _ => Error::io("read layer", error),
    }
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        TarReader {
            source,
            remaining: 0,
            padding: 0,
        }
    }

    /// The next member; the rest of the last one's data is skipped. `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let (mut pax, mut long_name, mut long_link) = (Pax::default(), None, None);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = unsigned(&header.as_bytes()[field::SIZE]).ok_or_else(|| invalid("size"))?;
            match header.entry_type() {
                EntryType::XHeader => pax = pax::parse(&self.special(size)?)?,
                EntryType::XGlobalHeader => {
                    self.special(size)?;
                }
                EntryType::GNULongName => long_name = Some(until_nul(self.special(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.special(size)?)),
                _ => return self.member(&header, size, pax, long_name, long_link).map(Some),
            }
        }
    }

    /// A piece of the current member's data; empty at its end. Taken with [`TarReader::consume`].
    pub(crate) fn data(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let piece = self.source.fill_buf().map_err(broken)?;
        if piece.is_empty() {
            return Err(truncated());
        }
        let length = piece.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        Ok(&piece[..length])
    }

    /// Takes bytes of the piece.
    pub(crate) fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.remaining -= n as u64;
    }

    /// Reads on to the end of the stream, and gives the source back. What comes behind an archive belongs to the layer's
    /// digest.
    pub(crate) fn finish(mut self) -> Result<R> {
        loop {
            let n = self.source.fill_buf().map_err(broken)?.len();
            if n == 0 {
                return Ok(self.source);
            }
            self.source.consume(n);
        }
    }

    fn skip(&mut self) -> Result<()> {
        while self.remaining > 0 {
            let n = self.data()?.len();
            self.consume(n);
        }
        while self.padding > 0 {
            let n = self.source.fill_buf().map_err(broken)?.len();
            if n == 0 {
                return Err(truncated());
            }
            let n = n.min(usize::try_from(self.padding).unwrap_or(n));
            self.source.consume(n);
            self.padding -= n as u64;
        }
        Ok(())
    }

    fn follow(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// One block; `None` when the stream ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let piece = self.source.fill_buf().map_err(broken)?;
            if piece.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            let n = piece.len().min(BLOCK - filled);
            block[filled..filled + n].copy_from_slice(&piece[..n]);
            self.source.consume(n);
            filled += n;
        }
        Ok(Some(block))
    }

    /// A header with the right checksum; `None` at a block of zeros or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sums = block
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { b' ' } else { *b });
        let (sum, signed) = sums.fold((0u32, 0i32), |(u, s), b| {
            (u + u32::from(b), s + i32::from(b.cast_signed()))
        });
        let told = field::unsigned(&block[field::CHECKSUM]).ok_or_else(|| invalid("checksum"))?;
        if told != u64::from(sum) && told.cast_signed() != i64::from(signed) {
            return Err(invalid("checksum"));
        }
        Ok(Some(header))
    }

    /// The data of a header about a header.
    fn special(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_SPECIAL {
            return Err(invalid("extended header is too large"));
        }
        self.follow(size);
        let mut data = Vec::new();
        while self.remaining > 0 {
            let piece = self.data()?;
            data.extend_from_slice(piece);
            let n = piece.len();
            self.consume(n);
        }
        Ok(data)
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let path = pax
            .path
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind(header, &path)?;
        let stored = if kind == Kind::File {
            pax.size.unwrap_or(size)
        } else {
            0
        };
        let map = if header.entry_type() == EntryType::GNUSparse {
            let map = self.gnu_map(header)?;
            self.follow(stored);
            Some(map)
        } else {
            self.follow(stored);
            pax.sparse
                .as_ref()
                .filter(|_| kind == Kind::File)
                .map(|told| self.pax_map(told))
                .transpose()?
        };
        let map = map.map(|map| map.check(self.remaining)).transpose()?;
        let path = pax.sparse.and_then(|told| told.name).unwrap_or(path);
        let bytes = header.as_bytes();
        let id = |pax: Option<u64>, range: std::ops::Range<usize>, what| {
            let id = pax
                .or_else(|| unsigned(&bytes[range]))
                .and_then(|id| u32::try_from(id).ok());
            id.filter(|id| *id != u32::MAX).ok_or_else(|| invalid(what))
        };
        let device = |range: std::ops::Range<usize>| match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                let number = unsigned(&bytes[range]).and_then(|number| u32::try_from(number).ok());
                number.ok_or_else(|| invalid("device"))
            }
            _ => Ok(0),
        };
        let link = pax
            .link
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let mode = unsigned(&bytes[field::MODE]).ok_or_else(|| invalid("mode"))? & 0o7777;
        let mtime = pax.mtime.or_else(|| Some((field::signed(&bytes[field::MTIME])?, 0)));
        let mut xattrs = pax.xattrs;
        xattrs.sort();
        Ok(Entry {
            kind,
            path,
            link: link.unwrap_or_default(),
            mode: u32::try_from(mode).map_err(|_| invalid("mode"))?,
            uid: id(pax.uid, field::UID, "uid")?,
            gid: id(pax.gid, field::GID, "gid")?,
            mtime: mtime.ok_or_else(|| invalid("mtime"))?,
            size: map.as_ref().map_or(stored, |map| map.size),
            device: (device(field::DEVICE_MAJOR)?, device(field::DEVICE_MINOR)?),
            xattrs,
            sparse: map.map(|map| map.pieces),
        })
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind> {
    Ok(match header.entry_type() {
        // Before ustar, a directory was a file with a slash at the end.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Directory => Kind::Directory,
        EntryType::Char => Kind::CharDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let flag = other.as_byte();
            return Err(Error::InvalidArgument(format!(
                "unhandled tar header type {:?}",
                char::from(flag)
            )));
        }
    })
}
