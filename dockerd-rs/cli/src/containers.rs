//! `docker-rs ps`, `logs`, `stop`, `rm`.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerSummary, PortSummary};
use bollard::query_parameters::{
    ListContainersOptions, LogsOptions as LogsParameters, RemoveContainerOptions, StopContainerOptions,
};

use crate::arguments::{LogsOptions, PsOptions, RmOptions, StopOptions};
use crate::error::Error;
use crate::{streams, table};

pub(crate) async fn list(docker: &Docker, options: &PsOptions) -> Result<(), Error> {
    let mut filters: HashMap<String, Vec<String>> = HashMap::new();
    for filter in &options.filter {
        let (key, value) = filter.split_once('=').ok_or_else(|| {
            Error::Usage(format!(
                "invalid argument \"{filter}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
            ))
        })?;
        filters.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    let parameters = ListContainersOptions {
        all: options.all,
        filters: Some(filters),
        ..ListContainersOptions::default()
    };
    let containers = docker.list_containers(Some(parameters)).await?;
    if options.quiet {
        let ids = containers.iter().filter_map(|container| container.id.as_deref());
        ids.for_each(|id| println!("{}", table::short_id(id, options.no_trunc)));
        return Ok(());
    }
    let rows: Vec<_> = containers
        .iter()
        .map(|container| row(container, options.no_trunc))
        .collect();
    table::print(
        &[
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
        ],
        &rows,
    );
    Ok(())
}

fn row(container: &ContainerSummary, whole: bool) -> Vec<String> {
    let command = container.command.clone().unwrap_or_default();
    let command = if whole || command.chars().count() <= 20 {
        table::quote(&command)
    } else {
        table::quote(&format!("{}…", command.chars().take(19).collect::<String>()))
    };
    let now = jiff::Timestamp::now().as_second();
    let names = container.names.as_deref().unwrap_or_default();
    vec![
        table::short_id(container.id.as_deref().unwrap_or_default(), whole),
        container.image.clone().unwrap_or_default(),
        command,
        table::ago(now - container.created.unwrap_or(now)),
        container.status.clone().unwrap_or_default(),
        container
            .ports
            .iter()
            .flatten()
            .map(port)
            .collect::<Vec<_>>()
            .join(", "),
        names
            .iter()
            .map(|name| name.trim_start_matches('/'))
            .collect::<Vec<_>>()
            .join(","),
    ]
}

fn port(port: &PortSummary) -> String {
    let inside = format!(
        "{}/{}",
        port.private_port,
        port.typ.map_or_else(|| "tcp".to_owned(), |typ| typ.to_string())
    );
    match (&port.ip, port.public_port) {
        (Some(ip), Some(public)) if ip.contains(':') => format!("[{ip}]:{public}->{inside}"),
        (Some(ip), Some(public)) => format!("{ip}:{public}->{inside}"),
        _ => inside,
    }
}

pub(crate) async fn logs(docker: &Docker, options: &LogsOptions) -> Result<(), Error> {
    let parameters = LogsParameters {
        follow: options.follow,
        stdout: true,
        stderr: true,
        timestamps: options.timestamps,
        tail: options.tail.clone(),
        ..LogsParameters::default()
    };
    streams::show(Box::pin(docker.logs(&options.container, Some(parameters)))).await
}

/// Every container is tried; the exit code is 1 when one of them failed.
pub(crate) async fn stop(docker: &Docker, options: &StopOptions) -> Result<i32, Error> {
    let mut code = 0;
    for container in &options.containers {
        let parameters = StopContainerOptions {
            signal: options.signal.clone(),
            t: options.time,
        };
        tell(
            container,
            docker.stop_container(container, Some(parameters)).await,
            &mut code,
        );
    }
    Ok(code)
}

/// Every container is tried; the exit code is 1 when one of them failed.
pub(crate) async fn remove(docker: &Docker, options: &RmOptions) -> Result<i32, Error> {
    let mut code = 0;
    for container in &options.containers {
        let parameters = RemoveContainerOptions {
            force: options.force,
            v: options.volumes,
            ..RemoveContainerOptions::default()
        };
        tell(
            container,
            docker.remove_container(container, Some(parameters)).await,
            &mut code,
        );
    }
    Ok(code)
}

fn tell(container: &str, result: Result<(), bollard::errors::Error>, code: &mut i32) {
    match result {
        Ok(()) => println!("{container}"),
        Err(error) => {
            eprintln!("{}", Error::from(error));
            *code = 1;
        }
    }
}
