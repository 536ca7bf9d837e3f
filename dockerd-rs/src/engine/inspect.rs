//! `GET /containers/{id}/json`: the record, in the API's shape.

use std::collections::BTreeMap;

use containerd_proto::containerd::services::snapshots::v1::UsageRequest;
use dockerd_rs_network::Endpoint;
use serde_json::{Map, Value, json};

use super::container::Container;
use super::model::{MountPoint, Record, RunState, Status};
use super::{Engine, ports};
use crate::api::ApiVersion;

impl Engine {
    /// The container as inspect shows it.
    pub(crate) async fn inspect(&self, container: &Container, size: bool, version: ApiVersion) -> Value {
        let record = container.record();
        let directory = self.config.data_root.join("containers").join(&record.id);
        let file = |name: &str| {
            if record.started_once {
                directory.join(name).display().to_string()
            } else {
                String::new()
            }
        };
        let mut value = json!({
            "Id": record.id,
            "Created": record.created,
            "Path": record.path,
            "Args": record.args,
            "State": state(&record.state),
            "Image": record.image_id,
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "LogPath": if record.host_config.log_config.kind == "json-file" { self.log_path(&record.id).display().to_string() } else { String::new() },
            "Name": format!("/{}", record.name),
            "RestartCount": record.restart_count,
            "Driver": self.l3.snapshotter(),
            "Platform": record.platform,
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": Some(container.exec_ids()).filter(|ids| !ids.is_empty()),
            "HostConfig": record.host_config,
            "GraphDriver": {"Name": self.l3.snapshotter(), "Data": null},
            "Mounts": record.mounts.iter().map(mount).collect::<Vec<_>>(),
            "Config": record.config,
            "NetworkSettings": self.network_settings(&record, version),
        });
        if size {
            value["SizeRw"] = json!(self.layer_size(&record.id).await);
            value["SizeRootFs"] = json!(self.layer_size(&record.id).await);
        }
        value
    }

    /// Bytes in a container's own layer; zero when they cannot be counted.
    pub(crate) async fn layer_size(&self, id: &str) -> u64 {
        let request = UsageRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: id.to_owned(),
        };
        match self.l3.snapshots().usage(request).await {
            Ok(usage) => u64::try_from(usage.into_inner().size).unwrap_or(0),
            Err(status) => {
                tracing::debug!(container = id, error = status.message(), "size not known");
                0
            }
        }
    }

    fn network_settings(&self, record: &Record, version: ApiVersion) -> Value {
        let first = record
            .endpoints
            .iter()
            .find(|endpoint| endpoint.network_name == "bridge");
        let running = record.state.is_running() && !record.host_config.network_mode.starts_with("container:");
        let key = if running {
            self.netns_path(&record.id).display().to_string()
        } else {
            String::new()
        };
        let mut value = json!({
            "SandboxID": if running { record.id.as_str() } else { "" },
            "SandboxKey": key,
            "Ports": ports::shown(record),
            "Networks": networks(record, version),
        });
        if !version.at_least(52) {
            // Shapes that newer versions dropped.
            let old = json!({
                "Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
                "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null,
                "EndpointID": first.map_or("", |endpoint| endpoint.endpoint_id.as_str()),
                "Gateway": first.and_then(|endpoint| endpoint.gateway).map_or_else(String::new, |address| address.to_string()),
                "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
                "IPAddress": first.and_then(|endpoint| endpoint.ipv4).map_or_else(String::new, |net| net.addr().to_string()),
                "IPPrefixLen": first.and_then(|endpoint| endpoint.ipv4).map_or(0, dockerd_rs_network::Ipv4Net::prefix),
                "IPv6Gateway": "",
                "MacAddress": first.and_then(|endpoint| endpoint.mac).map_or_else(String::new, |mac| mac.to_string()),
            });
            if let (Value::Object(value), Value::Object(old)) = (&mut value, old) {
                value.extend(old);
            }
        }
        value
    }
}

/// `Networks`, by name: what is attached, and what will be.
pub(crate) fn networks(record: &Record, version: ApiVersion) -> Map<String, Value> {
    let mode = record.host_config.network_mode.as_str();
    let mut all = Map::new();
    if mode.starts_with("container:") {
        return all;
    }
    let wanted = record
        .networks
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "default");
    for name in std::iter::once(mode).chain(wanted) {
        let attached = record
            .endpoints
            .iter()
            .find(|endpoint| endpoint.network_name == name || endpoint.network_id.starts_with(name));
        all.insert(name.to_owned(), network(record, name, attached, version));
    }
    all
}

fn network(record: &Record, name: &str, endpoint: Option<&Endpoint>, version: ApiVersion) -> Value {
    let settings = record.networks.get(name);
    let aliases = settings.and_then(|settings| settings.aliases.clone());
    let mut value = json!({
        "IPAMConfig": settings.and_then(|settings| settings.ipam_config.clone()),
        "Links": settings.and_then(|settings| settings.links.clone()),
        "Aliases": aliases,
        "MacAddress": endpoint.and_then(|endpoint| endpoint.mac).map_or_else(String::new, |mac| mac.to_string()),
        "DriverOpts": settings.and_then(|settings| settings.driver_opts.clone()),
        "GwPriority": 0,
        "NetworkID": endpoint.map_or("", |endpoint| endpoint.network_id.as_str()),
        "EndpointID": endpoint.map_or("", |endpoint| endpoint.endpoint_id.as_str()),
        "Gateway": endpoint.and_then(|endpoint| endpoint.gateway).map_or_else(String::new, |address| address.to_string()),
        "IPAddress": endpoint.and_then(|endpoint| endpoint.ipv4).map_or_else(String::new, |net| net.addr().to_string()),
        "IPPrefixLen": endpoint.and_then(|endpoint| endpoint.ipv4).map_or(0, dockerd_rs_network::Ipv4Net::prefix),
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
    });
    if version.at_least(44) {
        let names: Option<Vec<String>> = (!matches!(name, "bridge" | "host" | "none")).then(|| {
            std::iter::once(record.name.clone())
                .chain(aliases.unwrap_or_default())
                .chain([record.id[..12].to_owned()])
                .collect()
        });
        value["DNSNames"] = json!(names);
    }
    value
}

fn state(state: &RunState) -> Value {
    let restarting = state.status == Status::Restarting;
    json!({
        "Status": state.status.word(),
        "Running": state.is_running() || restarting,
        "Paused": state.status == Status::Paused,
        "Restarting": restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    })
}

/// A mount as inspect and list show it, without what is ours alone.
pub(crate) fn mount(point: &MountPoint) -> Value {
    let mut value: BTreeMap<&str, Value> = BTreeMap::from([
        ("Type", json!(point.kind)),
        ("Source", json!(point.source)),
        ("Destination", json!(point.destination)),
        ("Mode", json!(point.mode)),
        ("RW", json!(point.rw)),
        ("Propagation", json!(point.propagation)),
    ]);
    if point.kind == "volume" {
        value.insert("Name", json!(point.name));
        value.insert("Driver", json!(point.driver));
    }
    json!(value)
}
