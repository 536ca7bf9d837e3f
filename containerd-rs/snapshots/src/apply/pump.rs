//! The two halves of a stream: one thread reads, hashes and decompresses; the other hashes the plain bytes and uses them.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use containerd_rs_core::{Digest, Error, Result};
use sha2::{Digest as _, Sha256};

use super::Unpacked;

/// Bytes that go from one thread to the other at a time.
const PIECE: usize = 256 << 10;
/// Pieces on their way: what a bomb can occupy in memory, beside the decompressor's window.
const PIECES: usize = 6;
/// The largest window of zstd, as a power of two: what `zstd` itself takes without `--long`.
const ZSTD_WINDOW: u32 = 27;

/// The plain bytes, as the using thread reads them.
pub(crate) struct Feed {
    pieces: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    hash: Sha256,
    size: u64,
}

impl Feed {
    /// Digest and number of all bytes that were read.
    fn finish(self) -> (Digest, u64) {
        (Digest::from_sha256(&self.hash.finalize().into()), self.size)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            // A channel without its other end is the end of the stream.
            let next = self.pieces.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            self.hash.update(&next);
            self.size += next.len() as u64;
            let spent = std::mem::replace(&mut self.piece, next);
            self.at = 0;
            // The other thread may be done and want it no more.
            let _ = self.spent.send(spent);
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

/// Reads a stream to its end: `consume` gets the plain bytes and gives the feed back at their end.
pub(crate) fn run(source: impl Read + Send, consume: impl FnOnce(Feed) -> Result<Feed>) -> Result<Unpacked> {
    let (send, pieces) = sync_channel(PIECES);
    let (spent, empty) = channel();
    let feed = Feed {
        pieces,
        spent,
        piece: Vec::new(),
        at: 0,
        hash: Sha256::new(),
        size: 0,
    };
    std::thread::scope(|scope| {
        let pump = std::thread::Builder::new()
            .name("unpack-read".into())
            .spawn_scoped(scope, move || pump(source, &send, &empty))
            .map_err(|e| Error::io("spawn a reader", e))?;
        // On an error the feed is gone, and with it the pump's reason to go on.
        let used = consume(feed);
        let pumped = pump
            .join()
            .map_err(|_| Error::Internal("the reader of a layer panicked".into()));
        let (diff_id, plain_size) = used?.finish();
        let (digest, size) = pumped??;
        Ok(Unpacked {
            digest,
            size,
            diff_id,
            plain_size,
        })
    })
}

/// Hashes what it reads.
struct Hashed<R> {
    source: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        self.hash.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

fn pump(
    source: impl Read,
    pieces: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(Digest, u64)> {
    let mut hashed = Hashed {
        source,
        hash: Sha256::new(),
        size: 0,
    };
    let mut buffered = BufReader::with_capacity(PIECE, &mut hashed);
    let done = match decoder(&mut buffered) {
        Ok(mut plain) => forward(&mut plain, pieces, empty),
        Err(e) => Err(e),
    };
    match done {
        Ok(true) => {}
        // Nobody listens any more; they have the better error.
        Ok(false) => return Err(Error::Canceled("unpacking".into())),
        Err(e) => {
            // The user of the bytes reports it; when there is none, the error of the join is as good.
            let copy = io::Error::new(e.kind(), e.to_string());
            let _ = pieces.send(Err(e));
            return Err(Error::io("read layer", copy));
        }
    }
    // What stands behind the compressed data is part of the blob.
    let rest = io::copy(&mut buffered, &mut io::sink());
    rest.map_err(|e| Error::io("read layer", e))?;
    Ok((Digest::from_sha256(&hashed.hash.finalize().into()), hashed.size))
}

/// Passes pieces on; `false` when nobody takes them.
fn forward(
    plain: &mut dyn Read,
    pieces: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> io::Result<bool> {
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.clear();
        piece.reserve_exact(PIECE);
        let n = plain.take(PIECE as u64).read_to_end(&mut piece)?;
        if n == 0 {
            return Ok(true);
        }
        if pieces.send(Ok(piece)).is_err() {
            return Ok(false);
        }
    }
}

/// Chooses how to decompress by the first bytes.
fn decoder<'a, R: Read>(source: &'a mut BufReader<R>) -> io::Result<Box<dyn Read + 'a>> {
    let first = source.fill_buf()?;
    if first.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)));
    }
    let skippable = first.len() >= 4 && first[1..4] == [0x2a, 0x4d, 0x18] && first[0] & 0xf0 == 0x50;
    if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        decoder.window_log_max(ZSTD_WINDOW)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(source))
}
