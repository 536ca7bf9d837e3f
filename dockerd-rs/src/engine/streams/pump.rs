//! Reads one fifo to its end, for the log and for whoever listens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::{Chunk, Output, Streams, Wiring};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// How long a listener may stand still after the process ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the fifo's end, until the run is over and the fifo empty, or until nobody needs it.
pub(super) async fn run(streams: Arc<Streams>, output: Output, receiver: pipe::Receiver, wiring: Wiring) {
    let mut over = streams.over.subscribe();
    let mut buffer = BytesMut::new();
    loop {
        let ended = *over.borrow_and_update();
        match read(&receiver, &mut buffer, ended) {
            Ok(0) => break,
            Ok(_) => {
                let chunk = buffer.split().freeze();
                if let Some(log) = &wiring.log {
                    log.write(output, &chunk);
                }
                for listener in streams.listeners_of(output) {
                    hand_on(&streams, &listener, (output, chunk.clone()), &mut over).await;
                }
                if streams.leave_if_idle(output, wiring.always) {
                    streams.running.send_modify(|count| *count -= 1);
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if ended {
                    break;
                }
                tokio::select! {
                    ready = receiver.readable() => if ready.is_err() { break },
                    _ = over.changed() => {}
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(fifo = %streams.directory().display(), %error, "read");
                break;
            }
        }
    }
    // `pumping` stays set: a fifo that ended is not opened again in this run.
    streams.running.send_modify(|count| *count -= 1);
}

/// Waits for a listener that is slow, but not for ever once the process has ended: its exit must not hang on a client that stopped reading.
async fn hand_on(streams: &Streams, listener: &mpsc::Sender<Chunk>, chunk: Chunk, over: &mut watch::Receiver<bool>) {
    let patience = async {
        // The sender lives in `streams`.
        let _ = over.wait_for(|over| *over).await;
        tokio::time::sleep(PATIENCE).await;
    };
    let sent = tokio::select! {
        sent = listener.send(chunk) => sent.is_ok(),
        () = patience => false,
    };
    if !sent {
        streams.drop_listener(listener);
    }
}

fn read(receiver: &pipe::Receiver, buffer: &mut BytesMut, ended: bool) -> io::Result<usize> {
    buffer.reserve(CHUNK);
    if !ended {
        return receiver.try_read_buf(buffer);
    }
    // Asked of the kernel itself: the event loop may not have heard yet of what was written last.
    let mut piece = vec![0; CHUNK];
    let count = rustix::io::read(receiver, &mut piece)?;
    buffer.extend_from_slice(&piece[..count]);
    Ok(count)
}
