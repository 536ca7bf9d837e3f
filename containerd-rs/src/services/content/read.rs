//! Reading a blob as a stream of pieces.

use containerd_proto::containerd::services::content::v1 as api;
use containerd_rs_core::{BlobReader, Error, Result};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert;
use crate::serve::status;

/// Bytes of one message.
const PIECE: usize = 1 << 20;

/// The part of the blob that was asked for (`size` 0: to the end).
///
/// # Errors
/// `OutOfRange` when it is not in the blob.
pub(super) fn stream(
    blob: Box<dyn BlobReader>,
    request: &api::ReadContentRequest,
) -> std::result::Result<
    impl Stream<Item = std::result::Result<api::ReadContentResponse, Status>> + Send + 'static,
    Status,
> {
    let (start, end) = range(blob.size(), request.offset, request.size).map_err(|e| status(&e))?;
    // Two pieces ahead of the client is enough to keep disk and socket busy together.
    let (send, receive) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut offset = start;
        while offset < end {
            let length = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
            let message = piece(blob.as_ref(), offset, length).map_err(|e| status(&e));
            let failed = message.is_err();
            offset += message.as_ref().map_or(0, |message| message.data.len() as u64);
            if send.blocking_send(message).is_err() || failed {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receive))
}

fn piece(blob: &dyn BlobReader, offset: u64, length: usize) -> Result<api::ReadContentResponse> {
    let mut data = vec![0; length];
    let read = blob.read_at(&mut data, offset)?;
    if read == 0 {
        return Err(Error::DataLoss(format!("blob ends at {offset}, before its size")));
    }
    data.truncate(read);
    Ok(api::ReadContentResponse {
        offset: convert::size_out(offset),
        data,
    })
}

fn range(size: u64, offset: i64, length: i64) -> Result<(u64, u64)> {
    let outside = || Error::OutOfRange(format!("read past object length {size} bytes"));
    let start = u64::try_from(offset).map_err(|_| outside())?;
    let length = u64::try_from(length).map_err(|_| outside())?;
    if start > size {
        return Err(outside());
    }
    let end = if length == 0 {
        size
    } else {
        start
            .checked_add(length)
            .filter(|end| *end <= size)
            .ok_or_else(outside)?
    };
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_stay_in_the_blob() {
        assert_eq!(range(10, 0, 0).unwrap(), (0, 10));
        assert_eq!(range(10, 4, 6).unwrap(), (4, 10));
        assert_eq!(range(10, 10, 0).unwrap(), (10, 10));
        for (offset, length) in [(11, 0), (4, 7), (-1, 0), (0, -1), (i64::MAX, i64::MAX)] {
            assert!(range(10, offset, length).is_err(), "{offset} {length}");
        }
    }
}
