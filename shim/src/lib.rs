//! containerd's shim v2 for OCI runtimes: parent of the container, keeper of its streams, reporter of its exit.
//!
//! A manager starts `containerd-shim-runc-rs-v2 start` in a bundle, reads an address from its answer, and from then on speaks ttrpc to the
//! *serving* process that was left behind. That process outlives the manager: everything that must not be lost when a daemon is killed
//! lives here and nowhere else. Three decisions follow from it.
//!
//! - **Memory is the product.** There is one shim for each container (or pod), so it runs on one thread, without buffers that wait for
//!   work: all streams share one scratch buffer, runtime calls borrow a second thread for the milliseconds they take.
//! - **An exit is kept until it was fetched.** It is known to any number of `Wait` and `State` calls until `Delete`, and its event is sent
//!   again until the manager took it.
//! - **The log is written here.** Bytes that a daemon has read from a pipe and not yet written die with it; so there is a log scheme (below)
//!   with which the shim itself writes Docker's json-file, and the daemon only listens in.
//!
//! The runtime sits behind [`runtime::OciRuntime`]: [`runtime::LinkedRuntime`] is runc-rs in this very process (no exec, no JSON),
//! [`runtime::BinaryRuntime`] any OCI runtime program.
//!
//! # Streams: what `stdin`, `stdout` and `stderr` of Create and Exec may say
//!
//! | value | meaning |
//! |---|---|
//! | empty | `/dev/null` |
//! | a path, or `fifo://` and a path | a fifo, held open for reading and writing by the shim, so that readers may come and go; other files are appended to |
//! | `file:///path` | appended to; made when missing; both outputs if it is given as `stdout` |
//! | `binary:///path?key=value` | containerd's logging program: outputs on its descriptors 3 and 4, ready when it closes 5 |
//! | `docker-json-file:///path?…` | Docker's json-file log, written by this shim. Ours alone |
//! | `docker-attach:///?…` | no log, but listeners as below. Ours alone |
//!
//! `stdin` is always a fifo or empty. It reports end of file to the container only after `CloseIO`, and then when every other writer is gone.
//!
//! ## The two Docker schemes
//!
//! Given as `stdout`, such a URI rules both outputs and `stderr` is ignored (send the same value or none). With a terminal there is one stream,
//! `stdout`. The query is `application/x-www-form-urlencoded`:
//!
//! | key | meaning |
//! |---|---|
//! | `max-size` | bytes; the file is rotated before a line once it has reached this size (`docker-json-file` only; absent or -1: never) |
//! | `max-file` | how many files there are with the present one; default 1: the file is emptied instead of rotated |
//! | `attrs` | a JSON object of strings, put into every line as `attrs` |
//! | `attach-stdout`, `attach-stderr` | paths of fifos for a listener |
//!
//! A line is `{"log":"…\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}` with Go's escapes; lines longer than 16 KiB are written
//! in parts of that size of which only the last has the newline. The file is `PATH`, older ones are `PATH.1`, `PATH.2`…; mode 0640.
//!
//! A listener opens its fifo for reading (one listener a fifo; it fans out further by itself). From that moment on every byte that the shim
//! reads from the container is written to the log first and to the fifo second. A listener that does not keep up holds up its own stream of
//! the container, as a slow `docker attach` does; one that goes away is dropped at once, and bytes it left unread are in the log. The shim
//! opens the fifo when there is something to say and someone reads, and closes it at the end of the stream, so the listener sees end of file.
//! Fifos may be made at any time before they are listened at. To miss nothing, open them before Start. All that a process wrote is in the log
//! and in the fifos before its exit is reported; a listener that does not read for a second and a half after the
//! process has ended is dropped.

mod args;
mod bootstrap;
mod bundle;
mod cgroup;
mod container;
mod error;
mod events;
mod idle;
mod info;
pub mod log;
mod logger;
mod metrics;
mod mounts;
mod oom;
mod process;
mod reaper;
mod remove;
pub mod runtime;
mod serve;
mod service;
mod shim;
mod socket;
mod start;
pub mod stdio;
mod sys;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

pub use args::{Action, Args, ArgsError};
pub use error::{Error, Result};
pub use info::NAME;

/// The most that a manager sends on standard input.
const MOST_INPUT: u64 = 4 * 1024 * 1024;

/// The program: does what the command line says. Standard output has the answer and nothing else, standard error one line when it fails:
/// managers read both together.
pub fn main() -> ExitCode {
    let done = Args::parse(std::env::args().skip(1))
        .map_err(|e| e.to_string())
        .and_then(|args| dispatch(&args));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{NAME}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &Args) -> std::result::Result<(), String> {
    let print = |bytes: &[u8]| {
        let mut out = std::io::stdout();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    let variable = |name: &str| std::env::var(name).ok();
    let text = |e: Error| e.to_string();
    match args.action {
        Action::Version => print(info::version().as_bytes()).map_err(|e| e.to_string()),
        Action::Info => info::info(&input())
            .map_err(text)
            .and_then(|info| print(&info).map_err(|e| e.to_string())),
        Action::Start => start::start(args, variable, &input(), print).map_err(text),
        Action::Delete => {
            let answer = remove::remove(args, |warning| eprintln!("{NAME}: {warning}")).map_err(text)?;
            print(&answer).map_err(|e| e.to_string())
        }
        Action::Serve => serve::serve(args, &variable("TTRPC_ADDRESS").unwrap_or_default()).map_err(text),
    }
}

/// Standard input, unless a person sits there.
fn input() -> Vec<u8> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        // What cannot be read was not sent: input is optional.
        let _ = stdin.lock().take(MOST_INPUT).read_to_end(&mut bytes);
    }
    bytes
}
