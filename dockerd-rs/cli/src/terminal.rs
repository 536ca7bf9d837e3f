//! The client's own terminal: raw while a container's terminal is shown in it, and as it was afterwards.

use std::io::{IsTerminal as _, stdin};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// Raw mode, until dropped. Without a terminal on standard input it does nothing.
pub(crate) struct Raw(Option<Termios>);

impl Raw {
    pub(crate) fn enter() -> Self {
        let before = stdin().is_terminal().then(|| tcgetattr(stdin()).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // A terminal that can't be made raw still shows the output.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Height and width in characters, when standard output is a terminal.
fn size() -> Option<(i32, i32)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

/// Keeps a process's terminal the size of ours, in the background: `resize` is called with height and width now and after every change. It says
/// whether it was heard: the process may not be there yet, so it is told again, ten times at most.
pub(crate) fn follow_size<F: Future<Output = bool> + Send>(resize: impl Fn(i32, i32) -> F + Send + Sync + 'static) {
    tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return;
        };
        loop {
            if let Some((height, width)) = size() {
                for attempt in 1..=10 {
                    if resize(height, width).await {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10 * attempt)).await;
                }
            }
            if changes.recv().await.is_none() {
                return;
            }
        }
    });
}
