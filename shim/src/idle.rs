//! What the shim gives back when it has nothing to do: it waits for hours, and there are hundreds of it.

use std::time::Duration;

use tokio::sync::Notify;

use crate::sys;

/// How long nothing must have happened.
const QUIET: Duration = Duration::from_millis(500);

/// Notices when work is over.
#[derive(Debug, Default)]
pub(crate) struct Idle(Notify);

impl Idle {
    /// Something was done that used memory.
    pub(crate) fn worked(&self) {
        self.0.notify_one();
    }

    /// Gives memory back whenever work is over, for ever: what the heap holds unused, and the pages of the program that were only needed to make a
    /// container. The latter stay in the page cache, and come back one by one when they are used.
    pub(crate) async fn watch(&self) {
        loop {
            self.0.notified().await;
            while tokio::time::timeout(QUIET, self.0.notified()).await.is_ok() {}
            sys::trim_heap();
            sys::drop_program();
        }
    }
}
