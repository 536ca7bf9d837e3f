//! From a request body to pieces of an archive.

use std::io::{self, BufRead, BufReader, Read};

use axum::body::Body;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::tar::{Member, TarReader};
use crate::error::{Error, Result};

/// Pieces on their way from the thread.
const PIECES: usize = 8;
/// Largest piece, in bytes.
const PIECE: usize = 256 * 1024;

/// What an archive consists of.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A member begins; its data follows.
    Begin(Member),
    /// Data.
    Data(Bytes),
}

/// The pieces as they come.
pub(crate) struct Pieces {
    receiver: mpsc::Receiver<io::Result<Piece>>,
    pump: tokio::task::JoinHandle<()>,
}

impl Pieces {
    /// The next piece; nothing at the end.
    ///
    /// # Errors
    /// What is wrong with the archive, or with the client's sending.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>> {
        match self.receiver.recv().await {
            None => Ok(None),
            Some(Ok(piece)) => Ok(Some(piece)),
            Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::internal("unexpected EOF")),
            Some(Err(error)) => Err(Error::internal(error.to_string())),
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// The members of a tar, plain or compressed.
pub(crate) fn members(body: Body) -> Pieces {
    start(body, |source, out| {
        let mut reader = TarReader::new(source);
        while let Some(member) = reader.next()? {
            out(Piece::Begin(member))?;
            copy(&mut reader, out)?;
        }
        reader.drain()
    })
}

/// The decompressed bytes of whatever is sent.
pub(crate) fn plain(body: Body) -> Pieces {
    start(body, |mut source, out| copy(&mut source, out))
}

type Out<'a> = &'a mut dyn FnMut(Piece) -> io::Result<()>;

fn start(body: Body, work: impl FnOnce(Box<dyn Read>, Out<'_>) -> io::Result<()> + Send + 'static) -> Pieces {
    let (chunks, incoming) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let pump = tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(chunk) = body.next().await {
            let failed = chunk.is_err();
            let chunk = chunk.map_err(|e| io::Error::new(io::ErrorKind::UnexpectedEof, e));
            if chunks.send(chunk).await.is_err() || failed {
                return;
            }
        }
    });
    let (pieces, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut out = |piece| {
            pieces
                .blocking_send(Ok(piece))
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        };
        let source = ChunkReader {
            incoming,
            current: Bytes::new(),
        };
        if let Err(error) = decompress(source).and_then(|source| work(source, &mut out)) {
            // Nobody waits for it any more.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    Pieces { receiver, pump }
}

fn copy(source: &mut dyn Read, out: Out<'_>) -> io::Result<()> {
    let mut buffer = vec![0u8; PIECE];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match source.read(&mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return Ok(());
        }
        out(Piece::Data(Bytes::copy_from_slice(&buffer[..filled])))?;
    }
}

/// Chooses the decompressor by the first bytes. All of them run in this process: none is looked for on a PATH.
fn decompress(source: ChunkReader) -> io::Result<Box<dyn Read>> {
    let mut source = BufReader::with_capacity(PIECE, source);
    let start = source.fill_buf()?;
    let unsupported = |name: &str| Err(io::Error::other(format!("unsupported compression format: {name}")));
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(source))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(source)?)),
        [0x42, 0x5a, 0x68, ..] => unsupported("bzip2"),
        [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, ..] => unsupported("xz"),
        _ => Ok(Box::new(source)),
    }
}

/// The body's chunks as a reader, for the thread.
struct ChunkReader {
    incoming: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.incoming.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.current = chunk?,
            }
        }
        let n = self.current.len().min(out.len());
        out[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
