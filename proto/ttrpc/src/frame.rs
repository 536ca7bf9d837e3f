//! The wire format: a header of ten bytes, big endian (length u32, stream u32, type u8, flags u8), then the payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest payload that a peer may send, in bytes (ttrpc: 4 MiB).
pub const MAX_MESSAGE: usize = 4 << 20;

const HEADER: usize = 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// Stream data and whatever later versions add.
    Other(u8),
}

impl Kind {
    fn from_wire(value: u8) -> Self {
        match value {
            1 => Self::Request,
            2 => Self::Response,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Other(other) => other,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Frame(Frame),
    /// A frame whose payload was over [`MAX_MESSAGE`]; it was skipped, and the connection goes on.
    TooLong {
        stream: u32,
        length: usize,
    },
}

/// Reads one frame; `None` at a clean end of the connection.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Incoming>> {
    let mut header = [0; HEADER];
    if from.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..]).await?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
    if length > MAX_MESSAGE {
        let skipped = tokio::io::copy(&mut from.take(length as u64), &mut tokio::io::sink()).await?;
        if skipped < length as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        return Ok(Some(Incoming::TooLong { stream, length }));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some(Incoming::Frame(Frame {
        stream,
        kind: Kind::from_wire(kind),
        payload,
    })))
}

/// Writes one frame in one piece.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(frame.payload.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut bytes = Vec::with_capacity(HEADER + frame.payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&frame.stream.to_be_bytes());
    bytes.extend_from_slice(&[frame.kind.to_wire(), 0]);
    bytes.extend_from_slice(&frame.payload);
    to.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_ten_bytes_and_its_payload() {
        let frame = Frame {
            stream: 3,
            kind: Kind::Request,
            payload: b"abc".to_vec(),
        };
        let mut wire = Vec::new();
        write(&mut wire, &frame).await.unwrap();
        assert_eq!(wire, [0, 0, 0, 3, 0, 0, 0, 3, 1, 0, b'a', b'b', b'c']);
        let mut rest = wire.as_slice();
        assert_eq!(read(&mut rest).await.unwrap(), Some(Incoming::Frame(frame)));
        assert_eq!(read(&mut rest).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error_and_a_long_one_is_skipped() {
        assert!(read(&mut [0u8, 0, 0, 3, 0].as_slice()).await.is_err());
        let length = MAX_MESSAGE + 1;
        let mut wire = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        wire.extend_from_slice(&[0, 0, 0, 9, 1, 0]);
        wire.resize(10 + length, 0);
        assert_eq!(
            read(&mut wire.as_slice()).await.unwrap(),
            Some(Incoming::TooLong { stream: 9, length })
        );
    }
}
