//! Containers from an asynchronous program: what blocks goes to a thread for it, waiting is the event loop's.
//!
//! `embed_async`, as root. Eight containers at once; each is a child of this program, and the end of each is a descriptor that tokio watches.

use std::os::fd::OwnedFd;
use std::path::Path;

use engine_examples::{Result, busybox};
use runc_rs::{Child, Runtime, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs");
    busybox(&rootfs)?;
    let runtime = Runtime::new(directory.path().join("state"));
    let mut tasks = Vec::new();
    for number in 0..8 {
        let (runtime, rootfs) = (runtime.clone(), rootfs.clone());
        tasks.push(tokio::spawn(async move {
            run(runtime, &rootfs, number).await.map_err(|error| error.to_string())
        }));
    }
    for task in tasks {
        println!("{}", task.await??);
    }
    Ok(())
}

/// One container: its output and its exit status.
async fn run(runtime: Runtime, rootfs: &Path, number: i32) -> Result<String> {
    let builder = runtime
        .container(format!("async-{}-{number}", std::process::id()))
        .rootfs(rootfs)
        .args(["sh", "-c", &format!("echo from container {number}; exit {number}")])
        .stdin(Stdio::Null)
        .stdout(Stdio::Piped);
    // Some milliseconds of system calls, none of which an event loop could wait for.
    let (container, mut child) = spawn_blocking(|| builder.run()).await??;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        stdout.read_to_string(&mut output).await?;
    }
    let status = ended(child).await?;
    spawn_blocking(|| container.delete()).await??;
    Ok(format!(
        "{} ended with {}",
        output.trim_end(),
        status.code().unwrap_or(-1)
    ))
}

/// Waits in the event loop until the process has ended; then there is something to reap.
async fn ended(child: Child) -> Result<std::process::ExitStatus> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that give their descriptor away; a Child does not"
    )]
    let mut child = AsyncFd::with_interest(child, tokio::io::Interest::READABLE)?;
    loop {
        let mut ready = child.readable_mut().await?;
        match ready.get_inner_mut().try_wait()? {
            Some(status) => return Ok(status),
            None => ready.clear_ready(),
        }
    }
}
