//! Between the client's standard streams and an attached process.

use std::io;
use std::pin::Pin;

use bollard::container::LogOutput;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::error::Error;

/// What a process writes, in pieces.
pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
/// Where a process reads from.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Copies standard input to the process in the background, and closes it there when it ends here.
pub(crate) fn feed(mut input: Input) {
    tokio::spawn(async move {
        // The process may end, or close its input, before ours ends.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
        let _ = input.shutdown().await;
    });
}

/// Writes what the process writes to standard output and standard error, until it ends.
pub(crate) async fn show(mut output: Output) -> Result<(), Error> {
    while let Some(piece) = output.next().await {
        let result = match piece? {
            LogOutput::StdErr { message } => write(&mut io::stderr(), &message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => write(&mut io::stdout(), &message),
            LogOutput::StdIn { .. } => Ok(()),
        };
        result.map_err(|e| Error::Io("write output".to_owned(), e))?;
    }
    Ok(())
}

fn write(to: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
