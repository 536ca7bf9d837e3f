//! `docker-rs exec`.

use bollard::Docker;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptions;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::ExecOptions;
use crate::error::Error;
use crate::terminal::Raw;
use crate::{process, streams, terminal};

/// Runs a process in a running container; the exit code is the process's.
pub(crate) async fn run(docker: &Docker, options: ExecOptions) -> Result<i32, Error> {
    let process = &options.process;
    let config = ExecConfig {
        attach_stdin: Some(process.interactive && !process.detach),
        attach_stdout: Some(!process.detach),
        attach_stderr: Some(!process.detach),
        tty: Some(process.tty),
        env: Some(process::environment(&process.env, |name| std::env::var(name).ok())),
        cmd: Some(options.command.clone()),
        privileged: Some(process.privileged),
        user: process.user.clone(),
        working_dir: process.workdir.clone(),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(&options.container, config).await?.id;
    let start = StartExecOptions {
        detach: process.detach,
        tty: process.tty,
        output_capacity: None,
    };
    let StartExecResults::Attached { output, input } = docker.start_exec(&id, Some(start)).await? else {
        return Ok(0);
    };
    let raw = (process.tty && process.interactive).then(Raw::enter);
    if process.tty {
        follow_size(docker.clone(), id.clone());
    }
    if process.interactive {
        streams::feed(input);
    }
    let shown = streams::show(output).await;
    drop(raw);
    shown?;
    let code = docker.inspect_exec(&id).await?.exit_code;
    code.and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| Error::Engine(format!("the engine does not know how exec {id} ended")))
}

/// Keeps the process's terminal the size of ours.
fn follow_size(docker: Docker, id: String) {
    tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return;
        };
        loop {
            if let Some((h, w)) = terminal::size() {
                // The process may be gone; then its size is of no interest.
                let _ = docker.resize_exec(&id, ResizeExecOptions { h, w }).await;
            }
            if changes.recv().await.is_none() {
                return;
            }
        }
    });
}
