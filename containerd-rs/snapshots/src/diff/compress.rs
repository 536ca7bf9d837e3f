//! The way of a layer's bytes: hashed plain, compressed, into the content store.

use std::io::{self, Write};

use containerd_rs_core::{ContentWriter, Digest, Error, Result};
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The store's writer, in large pieces, with its error kept whole.
struct Store {
    writer: Box<dyn ContentWriter>,
    buffer: Vec<u8>,
    size: u64,
}

const BUFFER: usize = 256 << 10;

impl Store {
    fn push(&mut self) -> io::Result<()> {
        self.writer.write(&self.buffer).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        self.size += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Store {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= BUFFER {
            self.push()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Encoder {
    Plain(Store),
    Gzip(Box<GzEncoder<Store>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Store>>),
}

/// Where a layer's plain bytes are written to.
pub(crate) struct LayerSink {
    encoder: Encoder,
    hash: Sha256,
}

fn failed(e: io::Error) -> Error {
    Error::io("write layer", e)
}

impl LayerSink {
    pub(crate) fn new(writer: Box<dyn ContentWriter>, compression: Compression) -> Result<Self> {
        let store = Store {
            writer,
            buffer: Vec::with_capacity(BUFFER * 2),
            size: 0,
        };
        let encoder = match compression {
            Compression::None => Encoder::Plain(store),
            Compression::Gzip => Encoder::Gzip(Box::new(GzEncoder::new(store, flate2::Compression::default()))),
            Compression::Zstd => Encoder::Zstd(Box::new(zstd::stream::write::Encoder::new(store, 0).map_err(failed)?)),
        };
        Ok(LayerSink {
            encoder,
            hash: Sha256::new(),
        })
    }

    /// The digest of the plain bytes so far.
    pub(crate) fn diff_id(&self) -> Digest {
        Digest::from_sha256(&self.hash.clone().finalize().into())
    }

    /// Ends the compressed stream; the store's writer, and the bytes it got.
    pub(crate) fn finish(self) -> Result<(Box<dyn ContentWriter>, u64)> {
        let mut store = match self.encoder {
            Encoder::Plain(store) => store,
            Encoder::Gzip(encoder) => encoder.finish().map_err(failed)?,
            Encoder::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        store.push().map_err(failed)?;
        Ok((store.writer, store.size))
    }
}

impl Write for LayerSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = match &mut self.encoder {
            Encoder::Plain(store) => store.write(data)?,
            Encoder::Gzip(encoder) => encoder.write(data)?,
            Encoder::Zstd(encoder) => encoder.write(data)?,
        };
        self.hash.update(&data[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
