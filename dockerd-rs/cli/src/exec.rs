//! `docker-rs exec`.

use bollard::Docker;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptions;

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
        let (docker, id) = (docker.clone(), id.clone());
        terminal::follow_size(move |h, w| {
            let (docker, id) = (docker.clone(), id.clone());
            // The process may be gone; then its size is of no interest.
            async move { docker.resize_exec(&id, ResizeExecOptions { h, w }).await.is_ok() }
        });
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
