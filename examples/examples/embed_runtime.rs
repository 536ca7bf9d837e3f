//! A program that runs a command in a container by itself: no daemon, no shim, no runtime program.
//!
//! `embed_runtime [COMMAND...]`, as root. The container's first process is a child of this program, its output comes through a pipe, and a second
//! process is put beside it.

use engine_examples::{Result, busybox, spec};
use runc_rs::{Runtime, Stdio};

fn main() -> Result<()> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command: Vec<&str> = match command.is_empty() {
        true => vec!["sh", "-c", "echo hello from $(hostname); exit 7"],
        false => command.iter().map(String::as_str).collect(),
    };
    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs");
    busybox(&rootfs)?;
    let runtime = Runtime::new(directory.path().join("state"));

    // The configuration is a value; no config.json is written.
    let (container, child) = runtime
        .container("embedded")
        .spec(spec(&rootfs, &command)?)
        .stdin(Stdio::Null)
        .stdout(Stdio::Piped)
        .create()?;
    println!("created: {:?}", container.status()?);
    container.start()?;
    let output = child.wait_with_output()?;
    container.delete()?;
    print!("output: {}", String::from_utf8_lossy(&output.stdout));
    println!("exit status: {}", output.status.code().unwrap_or(-1));
    two_processes(&runtime, &rootfs)
}

/// A container whose first process only waits, and a second process in it.
fn two_processes(runtime: &Runtime, rootfs: &std::path::Path) -> Result<()> {
    let (container, mut init) = runtime
        .container("second")
        .rootfs(rootfs)
        .args(["sleep", "1000"])
        .stdin(Stdio::Null)
        .run()?;
    let exec = container
        .exec(["echo", "hello from a second process"])
        .stdout(Stdio::Piped)
        .start()?;
    let output = exec.wait_with_output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    container.delete_by_force()?;
    init.wait()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("exec ended with {}", output.status).into()),
    }
}
