//! Running programs, and saying what is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A `cargo` command in the workspace's directory, the same toolchain as this program's.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints the command and runs it to its end.
///
/// # Errors
/// When it can't be started or ends with another code than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("xtask: {}", line(command));
    let status = command.status().map_err(|e| format!("{}: {e}", line(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", line(command)).into())
    }
}

/// Runs the command to its end and gives its standard output.
///
/// # Errors
/// When it can't be started or ends with another code than 0; the text holds its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{}: {e}", line(command)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}: {}", line(command), output.status, text.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
