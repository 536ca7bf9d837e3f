//! A shim's log: a fifo in the bundle that the shim writes to and we copy.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::task::JoinHandle;

use super::bundle::Bundle;
use containerd_rs_core::{Error, Result};

/// The longest line that is passed on in one piece, in bytes.
const LINE: usize = 8 << 10;

/// Copies until it is dropped.
#[derive(Debug)]
pub(crate) struct ShimLog(JoinHandle<()>);

impl Drop for ShimLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ShimLog {
    /// Makes the fifo if it is not there, and copies what comes through it. We hold both ends, so that a shim never meets a fifo
    /// without a reader while we live, and we see no end when it goes.
    pub(crate) fn open(bundle: &Bundle) -> Result<Self> {
        let path = bundle.path.join("log");
        match mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(Error::io(format!("mkfifo {}", path.display()), e)),
        }
        let receiver = open(&path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        let (namespace, id) = (bundle.namespace.clone(), bundle.id.clone());
        Ok(ShimLog(tokio::spawn(copy(receiver, namespace, id))))
    }
}

fn open(path: &Path) -> std::io::Result<Receiver> {
    OpenOptions::new().read_write(true).open_receiver(path)
}

async fn copy(mut receiver: Receiver, namespace: String, id: String) {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 4096];
    loop {
        let read = match receiver.read(&mut buffer).await {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(namespace, id, %error, "the shim's log ends");
                return;
            }
        };
        pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
        while let Some(end) = pending
            .iter()
            .position(|b| *b == b'\n')
            .or((pending.len() >= LINE).then_some(LINE - 1))
        {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            tracing::info!(target: "shim", namespace, id, "{}", line.trim_end());
        }
    }
}
