//! Long lists in pages: a store walks on its own thread, and waits when the client does not read.

use containerd_rs_core::{Error, Result};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::serve::status;

/// Entries of one message; containerd's clients expect no more than some hundreds.
pub(crate) const BATCH: usize = 100;

/// Runs a walk on a blocking thread and streams what it meets, `size` at a time. A client that goes away ends the walk.
pub(crate) fn pages<T: Send + 'static>(
    size: usize,
    walk: impl FnOnce(&mut dyn FnMut(T) -> Result<()>) -> Result<()> + Send + 'static,
) -> impl Stream<Item = std::result::Result<Vec<T>, Status>> + Send + 'static {
    let (send, receive) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut page = Vec::new();
        let gone = |_| Error::Canceled("list".into());
        let walked = walk(&mut |entry| {
            page.push(entry);
            if page.len() < size {
                return Ok(());
            }
            send.blocking_send(Ok(std::mem::take(&mut page))).map_err(gone)
        });
        let last = match walked {
            Ok(()) if page.is_empty() => return,
            Ok(()) => Ok(page),
            Err(error) => Err(status(&error)),
        };
        // Nobody is there to be told when this fails.
        let _ = send.blocking_send(last);
    });
    ReceiverStream::new(receive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn walk_comes_in_pages_and_its_error_last() {
        let stream = pages(2, |each| {
            (0..5).try_for_each(&mut *each)?;
            Err(Error::Internal("broken".into()))
        });
        let pages: Vec<_> = stream.collect().await;
        assert_eq!(pages.len(), 3);
        assert_eq!(pages[0].as_ref().unwrap(), &[0, 1]);
        assert_eq!(pages[2].as_ref().unwrap_err().code(), tonic::Code::Internal);
    }

    #[tokio::test]
    async fn client_that_goes_away_ends_the_walk() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let stream = pages(1, move |each| {
            let result = (0..).try_for_each(&mut *each);
            ended.send(()).unwrap();
            result
        });
        drop(stream);
        end.await.unwrap();
    }
}
