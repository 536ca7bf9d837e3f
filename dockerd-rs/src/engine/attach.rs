//! The copy between a client's connection and a process's streams.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::streams::{Chunk, Output, Streams};
use crate::error::{Error, Result};

/// Bytes of input read at once.
const CHUNK: usize = 64 << 10;
/// Keys that leave a terminal: control-p, control-q.
const DEFAULT_KEYS: [u8; 2] = [16, 17];

/// How a client wants the streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wants {
    /// Its input goes to the process.
    pub(crate) stdin: bool,
    /// The end of its input is the end of the process's.
    pub(crate) close_stdin: bool,
    /// Output as it is, not in frames.
    pub(crate) raw: bool,
    /// Keys that detach; none where there is no terminal.
    pub(crate) keys: Option<Vec<u8>>,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process's output ended, or the client went away.
    Over,
    /// The client typed the keys.
    Detached,
}

/// Reads `ctrl-p,ctrl-q` or `a,ctrl-@`.
///
/// # Errors
/// 400 for what is no key.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT_KEYS.to_vec());
    }
    let wrong = |key: &str| {
        Error::invalid(format!(
            "Invalid escape keys ({text}) provided: unknown character: '{key}'"
        ))
    };
    text.split(',')
        .map(|key| match (key.as_bytes(), key.strip_prefix("ctrl-")) {
            ([byte], None) => Ok(*byte),
            (_, Some(rest)) => match rest.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                [b'@'] => Ok(0),
                [letter @ b'['..=b'_'] => Ok(letter - b'[' + 27),
                _ => Err(wrong(key)),
            },
            _ => Err(wrong(key)),
        })
        .collect()
}

/// Copies until the output ends, the client goes away, or it detaches. `close_input` is called at the end of the input.
pub(crate) async fn copy<R, W, F>(
    reader: R,
    mut writer: W,
    streams: Arc<Streams>,
    mut output: mpsc::Receiver<Chunk>,
    wants: Wants,
    close_input: F,
) -> End
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send,
    F: AsyncFnOnce() + Send,
{
    let input = async {
        if !wants.stdin {
            // Nothing is to be read, but a connection nobody reads would never be seen to close.
            return std::future::pending().await;
        }
        let detached = feed(reader, &streams, wants.keys.as_deref()).await;
        if !detached && wants.close_stdin {
            streams.close_stdin().await;
            close_input().await;
        }
        if detached {
            End::Detached
        } else {
            std::future::pending().await
        }
    };
    let outgoing = async {
        while let Some((kind, bytes)) = output.recv().await {
            if send(&mut writer, wants.raw, kind, &bytes).await.is_err() {
                break;
            }
        }
        End::Over
    };
    let end = tokio::select! {
        end = outgoing => end,
        end = input => end,
    };
    // The client may be gone.
    let _ = writer.shutdown().await;
    end
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, raw: bool, kind: Output, bytes: &[u8]) -> io::Result<()> {
    if !raw {
        writer.write_all(&header(kind, bytes.len())).await?;
    }
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// The header of a frame of the multiplexed stream.
fn header(kind: Output, length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind.number(), 0, 0, 0, a, b, c, d]
}

/// One frame.
pub(crate) fn frame(kind: Output, bytes: &[u8]) -> bytes::Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 8);
    out.put_slice(&header(kind, bytes.len()));
    out.put_slice(bytes);
    out.freeze()
}

/// Copies a client's input to the process; true when it detached.
async fn feed(mut reader: impl AsyncRead + Unpin, streams: &Streams, keys: Option<&[u8]>) -> bool {
    let mut buffer = vec![0; CHUNK];
    let mut matcher = keys.map(Matcher::new);
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => count,
        };
        let (bytes, detach) = match &mut matcher {
            Some(matcher) => matcher.pass(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if !bytes.is_empty()
            && let Err(error) = streams.write_stdin(&bytes).await
        {
            tracing::debug!(%error, "input");
            // The process does not take it; the client finds out when the output ends.
            return false;
        }
        if detach {
            return true;
        }
    }
}

/// Finds the detach keys in what is typed; a beginning of them is held back until it is clear that they are not meant.
#[derive(Debug)]
struct Matcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Matcher {
    fn new(keys: &[u8]) -> Self {
        Self {
            keys: keys.to_vec(),
            matched: 0,
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads_and_passed_on_when_not_meant() {
        let keys = parse_keys("ctrl-p,ctrl-q").unwrap();
        let mut matcher = Matcher::new(&keys);
        assert_eq!(matcher.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(matcher.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(matcher.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(matcher.pass(b"\x11rest"), (Vec::new(), true));
        assert_eq!(parse_keys("a,ctrl-@").unwrap(), [b'a', 0]);
        assert!(parse_keys("ctrl-,x").is_err() && parse_keys("xyz").is_err());
    }

    #[test]
    fn frames_have_their_length_in_network_order() {
        assert_eq!(frame(Output::Stderr, b"hi").as_ref(), b"\x02\0\0\0\0\0\0\x02hi");
    }
}
