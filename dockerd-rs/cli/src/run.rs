//! `docker-rs run`.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, EventsOptions, RemoveContainerOptions, ResizeContainerTTYOptions,
    StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::RunOptions;
use crate::error::{ENGINE_FAILED, Error};
use crate::terminal::Raw;
use crate::{images, process, streams, terminal};

/// Creates, attaches, starts, and waits; the exit code is the container's.
pub(crate) async fn run(docker: &Docker, options: RunOptions) -> Result<i32, Error> {
    let body = process::create_body(&options)?;
    let begin = now();
    let id = create(docker, &options, body).await.map_err(engine_failed)?;
    if options.process.detach {
        start(docker, &id, options.rm).await?;
        println!("{id}");
        return Ok(0);
    }
    let attached = attach(docker, &id, options.process.interactive)
        .await
        .map_err(engine_failed)?;
    let condition = if options.rm { "removed" } else { "next-exit" };
    let waited = tokio::spawn(exit_code(docker.clone(), id.clone(), condition, begin));
    start(docker, &id, options.rm).await?;

    let tty = options.process.tty;
    let raw = (tty && options.process.interactive).then(Raw::enter);
    if tty {
        let (docker, id) = (docker.clone(), id.clone());
        terminal::follow_size(move |h, w| {
            let (docker, id) = (docker.clone(), id.clone());
            // The container may be gone; then its size is of no interest.
            async move {
                docker
                    .resize_container_tty(&id, ResizeContainerTTYOptions { h, w })
                    .await
                    .is_ok()
            }
        });
    } else {
        pass_signals(docker.clone(), id.clone());
    }
    if options.process.interactive {
        streams::feed(attached.input);
    }
    let shown = streams::show(attached.output).await;
    drop(raw);
    shown.map_err(engine_failed)?;
    waited
        .await
        .map_err(|e| engine_failed(Error::Engine(e.to_string())))?
        .map_err(engine_failed)
}

fn engine_failed(error: Error) -> Error {
    Error::Run(Box::new(error), ENGINE_FAILED)
}

/// Creates the container, and pulls its image first when the engine has none.
async fn create(
    docker: &Docker,
    options: &RunOptions,
    body: bollard::models::ContainerCreateBody,
) -> Result<String, Error> {
    let parameters = || CreateContainerOptions {
        name: options.name.clone(),
        ..CreateContainerOptions::default()
    };
    let created = docker
        .create_container(Some(parameters()), body.clone())
        .await
        .map_err(Error::from);
    let created = match created {
        Err(error) if error.status() == Some(404) => {
            eprintln!("Unable to find image '{}' locally", options.image);
            images::pull_to(docker, &options.image, images::To::Stderr).await?;
            docker.create_container(Some(parameters()), body).await?
        }
        other => other?,
    };
    created
        .warnings
        .iter()
        .for_each(|warning| eprintln!("WARNING: {warning}"));
    Ok(created.id)
}

/// Starts the container; one that can't start has the exit code that its shell would have given.
async fn start(docker: &Docker, id: &str, remove: bool) -> Result<(), Error> {
    let Err(error) = docker.start_container(id, None::<StartContainerOptions>).await else {
        return Ok(());
    };
    let error = Error::from(error);
    let text = error.to_string();
    let code = if text.contains("executable file not found") || text.contains("no such file or directory") {
        127
    } else if text.contains("permission denied") {
        126
    } else {
        ENGINE_FAILED
    };
    if remove {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        // The engine removes it as well; whoever comes second finds nothing.
        let _ = docker.remove_container(id, Some(options)).await;
    }
    Err(Error::Run(Box::new(error), code))
}

async fn attach(docker: &Docker, id: &str, stdin: bool) -> Result<AttachContainerResults, Error> {
    let options = AttachContainerOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    Ok(docker.attach_container(id, Some(options)).await?)
}

/// The container's exit code. A container that was gone before the wait arrived has left it in the engine's events.
async fn exit_code(docker: Docker, id: String, condition: &str, since: u64) -> Result<i32, Error> {
    let options = WaitContainerOptions {
        condition: condition.to_owned(),
    };
    let answer = docker.wait_container(&id, Some(options)).next().await;
    let code = match answer {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, error })) if error.is_empty() => code,
        Some(Err(error)) => {
            let error = Error::from(error);
            match error.status() {
                Some(404) => return exit_code_from_events(&docker, &id, since).await.ok_or(error),
                _ => return Err(error),
            }
        }
        None => return Err(Error::Engine(format!("the engine closed the wait for {id}"))),
    };
    Ok(i32::try_from(code).unwrap_or(ENGINE_FAILED))
}

async fn exit_code_from_events(docker: &Docker, id: &str, since: u64) -> Option<i32> {
    let filters = HashMap::from([
        ("container".to_owned(), vec![id.to_owned()]),
        ("event".to_owned(), vec!["die".to_owned()]),
    ]);
    let options = EventsOptions {
        since: Some(since.to_string()),
        until: Some((now() + 1).to_string()),
        filters: Some(filters),
    };
    let event = docker.events(Some(options)).next().await?.ok()?;
    event.actor?.attributes?.get("exitCode")?.parse().ok()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Hands our own signals on to the container, as a program in the foreground would get them.
fn pass_signals(docker: Docker, id: String) {
    let signals = [
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::quit(), "SIGQUIT"),
        (SignalKind::user_defined1(), "SIGUSR1"),
        (SignalKind::user_defined2(), "SIGUSR2"),
    ];
    for (kind, name) in signals {
        let (docker, id) = (docker.clone(), id.clone());
        tokio::spawn(async move {
            let Ok(mut received) = signal(kind) else { return };
            while received.recv().await.is_some() {
                let options = bollard::query_parameters::KillContainerOptions {
                    signal: name.to_owned(),
                };
                let _ = docker.kill_container(&id, Some(options)).await;
            }
        });
    }
}
