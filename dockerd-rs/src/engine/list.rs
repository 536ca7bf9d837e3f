//! `GET /containers/json`: filters, and a line for each container.

use std::sync::Arc;

use serde_json::{Value, json};

use super::container::Container;
use super::model::{Record, Status};
use super::{Engine, inspect, ports};
use crate::api::{ApiVersion, Filters};
use crate::error::{Error, Result};

/// Filters that a list of containers knows.
const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What a list is asked for.
#[derive(Debug, Default)]
pub(crate) struct ListOptions {
    /// Also those that do not run.
    pub(crate) all: bool,
    /// The newest so many.
    pub(crate) limit: Option<usize>,
    /// With the size of the layer.
    pub(crate) size: bool,
    pub(crate) filters: Filters,
}

impl Engine {
    /// Lists containers, newest first.
    ///
    /// # Errors
    /// 400 for a filter that is unknown or has a value it cannot have.
    pub(crate) async fn list(&self, options: &ListOptions, version: ApiVersion) -> Result<Vec<Value>> {
        options.filters.check(&KNOWN)?;
        let picked = self.pick(options).await?;
        let mut lines = Vec::new();
        for container in picked {
            let size = if options.size {
                Some(self.layer_size(&container.id).await)
            } else {
                None
            };
            lines.push(line(&container.record(), size, version));
        }
        Ok(lines)
    }

    async fn pick(&self, options: &ListOptions) -> Result<Vec<Arc<Container>>> {
        let filters = &options.filters;
        for status in filters.get("status") {
            if ![
                "created",
                "running",
                "paused",
                "restarting",
                "removing",
                "exited",
                "dead",
            ]
            .contains(&status.as_str())
            {
                return Err(Error::invalid(format!("invalid filter 'status={status}'")));
            }
        }
        let exited: Vec<i64> = filters
            .get("exited")
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::invalid(format!("invalid filter 'exited={text}'")))
            })
            .collect::<Result<_>>()?;
        let created = |name: &str| -> Result<Option<String>> {
            filters
                .get(name)
                .first()
                .map(|what| Ok(self.container(what)?.record().created.clone()))
                .transpose()
        };
        let (before, since) = (created("before")?, created("since")?);
        let mut images = Vec::new();
        for name in filters.get("ancestor") {
            if let Ok(image) = self.images.resolve(name).await {
                images.push(image.id);
            }
        }
        let everything = options.all
            || options.limit.is_some()
            || filters.has("status")
            || filters.has("exited")
            || filters.has("before")
            || filters.has("since");
        let fits = |record: &Record| {
            (everything || record.state.is_running() || record.state.status == Status::Restarting)
                && before.as_ref().is_none_or(|before| record.created < *before)
                && since.as_ref().is_none_or(|since| record.created > *since)
                && (!filters.has("exited")
                    || (record.state.status == Status::Exited && exited.contains(&record.state.exit_code)))
                && (!filters.has("ancestor")
                    || images.contains(&record.image_id)
                    || filters.get("ancestor").contains(&record.config.image))
                && simple_filters(filters, record)
        };
        let fitting = self
            .containers
            .all()
            .into_iter()
            .filter(|container| fits(&container.record()));
        Ok(match options.limit {
            Some(limit) => fitting.take(limit).collect(),
            None => fitting.collect(),
        })
    }
}

fn simple_filters(filters: &Filters, record: &Record) -> bool {
    let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.get(key);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    any("status", &|status| record.state.status.word() == status)
        && any("id", &|id| record.id.starts_with(id))
        && any("name", &|name| name_fits(name, &record.name))
        && any("health", &|health| health == "none")
        && any("is-task", &|task| matches!(task, "false" | "0"))
        && any("network", &|network| {
            let joined = record
                .endpoints
                .iter()
                .any(|endpoint| endpoint.network_name == network || endpoint.network_id.starts_with(network));
            joined || record.host_config.network_mode == network || record.networks.contains_key(network)
        })
        && any("volume", &|volume| {
            record
                .mounts
                .iter()
                .any(|point| point.name == volume || point.destination == volume || point.source.as_os_str() == volume)
        })
        && any("publish", &|port| {
            let wanted = if port.contains('/') {
                port.to_owned()
            } else {
                format!("{port}/tcp")
            };
            record
                .endpoints
                .iter()
                .flat_map(|endpoint| &endpoint.ports)
                .any(|bound| {
                    format!("{}/{}", bound.container_port, bound.protocol) == wanted
                        || format!("{}/{}", bound.host_port, bound.protocol) == wanted
                })
        })
        && any("expose", &|port| {
            let wanted = if port.contains('/') {
                port.to_owned()
            } else {
                format!("{port}/tcp")
            };
            record
                .config
                .exposed_ports
                .iter()
                .flatten()
                .any(|(exposed, _)| *exposed == wanted)
        })
        && filters.labels_fit(&record.config.labels)
}

/// A name fits as a regular expression does in Docker; plain words and anchors are what people write.
fn name_fits(pattern: &str, name: &str) -> bool {
    let with_slash = format!("/{name}");
    crate::api::pattern_fits(pattern, name) || crate::api::pattern_fits(pattern, &with_slash)
}

/// One line of the list.
fn line(record: &Record, size: Option<u64>, version: ApiVersion) -> Value {
    let mut value = json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name)],
        "Image": record.config.image,
        "ImageID": record.image_id,
        "Command": command(record),
        "Created": record.created.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second),
        "Ports": port_lines(record),
        "Labels": record.config.labels,
        "State": record.state.status.word(),
        "Status": status_text(record, jiff::Timestamp::now()),
        "HostConfig": {"NetworkMode": record.host_config.network_mode},
        "NetworkSettings": {"Networks": inspect::networks(record, version)},
        "Mounts": record.mounts.iter().map(inspect::mount).collect::<Vec<_>>(),
    });
    if version.at_least(46)
        && let Some(annotations) = &record.host_config.annotations
    {
        value["HostConfig"]["Annotations"] = json!(annotations);
    }
    if let Some(size) = size {
        value["SizeRw"] = json!(size);
        value["SizeRootFs"] = json!(size);
    }
    value
}

fn command(record: &Record) -> String {
    let quote = |word: &String| {
        if word.contains(' ') || word.contains('\'') {
            format!("'{}'", word.replace('\'', "\\'"))
        } else {
            word.clone()
        }
    };
    std::iter::once(record.path.clone())
        .chain(record.args.iter().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

fn port_lines(record: &Record) -> Vec<Value> {
    let mut lines = Vec::new();
    for (port, bindings) in ports::shown(record) {
        let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        let number: u16 = number.parse().unwrap_or(0);
        match bindings {
            None => lines.push(json!({"PrivatePort": number, "Type": protocol})),
            Some(bindings) => lines.extend(bindings.iter().map(|binding| {
                json!({"IP": binding.host_ip, "PrivatePort": number, "PublicPort": binding.host_port.parse::<u16>().unwrap_or(0), "Type": protocol})
            })),
        }
    }
    lines
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
pub(crate) fn status_text(record: &Record, now: jiff::Timestamp) -> String {
    let state = &record.state;
    let ago = |text: &str| {
        let since = text
            .parse::<jiff::Timestamp>()
            .map_or(0, |then| now.duration_since(then).as_secs());
        human(u64::try_from(since).unwrap_or(0))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", ago(&state.started_at)),
        Status::Paused => format!("Up {} (Paused)", ago(&state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ago(&state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, ago(&state.finished_at)),
    }
}

/// A duration in words (go-units `HumanDuration`).
fn human(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..=59 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (125, "2 minutes"),
            (3600, "About an hour"),
        ] {
            assert_eq!(human(seconds), text);
        }
        assert_eq!(human(3 * 24 * 3600), "3 days");
    }
}
