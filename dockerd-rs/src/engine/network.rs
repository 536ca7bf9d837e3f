//! A container's networks: the namespace, the endpoints, and the files that speak of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerd_rs_network::{
    Config as NetworkConfig, Controller, Endpoint, EndpointRequest, ErrorKind as NetworkErrorKind, Ipv4Net, NetnsRef,
    PoolConfig,
};

use super::container::Container;
use super::model::{EndpointSettings, Record};
use super::spec::Namespace;
use super::{Engine, blocking, ports};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

impl From<dockerd_rs_network::Error> for Error {
    fn from(error: dockerd_rs_network::Error) -> Self {
        let kind = match error.kind() {
            NetworkErrorKind::Invalid => ErrorKind::InvalidParameter,
            NetworkErrorKind::Forbidden => ErrorKind::Forbidden,
            NetworkErrorKind::NotFound => ErrorKind::NotFound,
            NetworkErrorKind::Conflict => ErrorKind::Conflict,
            NetworkErrorKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Opens the networks of this daemon.
pub(crate) fn open(config: &Config) -> Result<Controller> {
    let flags = &config.flags;
    let mut settings = NetworkConfig::new(config.data_root.join("network"));
    settings.bridge.clone_from(&flags.bridge);
    settings.bip = flags.bip.as_deref().map(str::parse::<Ipv4Net>).transpose()?;
    settings.fixed_cidr = flags.fixed_cidr.as_deref().map(str::parse::<Ipv4Net>).transpose()?;
    settings.mtu = flags.mtu;
    settings.icc = flags.icc;
    settings.ip_masq = flags.ip_masq;
    settings.firewall = flags.iptables;
    settings.ip_forward = flags.ip_forward;
    settings.default_host_ip = flags.ip;
    if flags.bridge != "docker0" && settings.has_default_bridge() {
        // Daemons side by side in one network namespace have bridges, and so tables, of their own.
        settings.table = format!("docker-rs-{}", flags.bridge);
    }
    if !flags.default_address_pool.is_empty() {
        settings.pools = flags
            .default_address_pool
            .iter()
            .map(|text| pool(text))
            .collect::<Result<_>>()?;
    }
    Ok(Controller::open(settings)?)
}

/// `base=10.0.0.0/8,size=24`.
fn pool(text: &str) -> Result<PoolConfig> {
    let wrong = || Error::invalid(format!("invalid default address pool: {text:?}"));
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(value.parse::<Ipv4Net>()?),
            Some(("size", value)) => size = Some(value.parse::<u8>().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    Ok(PoolConfig {
        base: base.ok_or_else(wrong)?,
        size: size.ok_or_else(wrong)?,
    })
}

/// What a container is on.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) namespace: Namespace,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Engine {
    /// The file a container's network namespace is bound to.
    pub(crate) fn netns_path(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("netns").join(&id[..12])
    }

    /// Makes namespace and endpoints. What was made before a failure is for the caller to take away (`network_down`).
    pub(crate) async fn network_up(self: &Arc<Self>, record: &Arc<Record>) -> Result<Attached> {
        let mode = record.host_config.network_mode.as_str();
        if let Some(other) = mode.strip_prefix("container:") {
            let other = self.running(other, "join network of")?;
            return Ok(Attached {
                namespace: Namespace::Join(format!("/proc/{}/ns/net", other.state.pid).into()),
                endpoints: Vec::new(),
            });
        }
        let unconnected = |error: Error| error.context("failed to set up container networking");
        let requests = self.endpoint_requests(record).map_err(unconnected)?;
        let path = self.netns_path(&record.id);
        let host = mode == "host";
        let network = Arc::clone(&self.network);
        let namespace = if host {
            Namespace::Host
        } else {
            Namespace::Join(path.clone())
        };
        let endpoints = blocking(move || {
            if !host {
                // A namespace that a daemon before this one could not take away.
                dockerd_rs_network::netns::remove(&path)?;
                dockerd_rs_network::netns::create(&path)?;
            }
            requests
                .into_iter()
                .map(|request| Ok(network.setup(request)?))
                .collect::<Result<Vec<_>>>()
        })
        .await
        .map_err(unconnected)?;
        for endpoint in &endpoints {
            self.network_event("connect", endpoint);
        }
        Ok(Attached { namespace, endpoints })
    }

    /// Puts a container on one more network, now if it runs, else when it starts.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        container: &Arc<Container>,
        network: &str,
        settings: EndpointSettings,
    ) -> Result<()> {
        let _turn = container.turn.lock().await;
        let name = self.network.network(network)?.name;
        let record = container.record();
        if matches!(record.host_config.network_mode.as_str(), "host" | "none")
            || record.host_config.network_mode.starts_with("container:")
        {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "container sharing network namespace with another container or host cannot be connected to any other network",
            ));
        }
        let joined = record.host_config.network_mode == name || record.networks.contains_key(&name);
        if joined {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("endpoint with name {} already exists in network {name}", record.name),
            ));
        }
        let mut wanted = (*record).clone();
        wanted.networks.insert(name.clone(), settings.clone());
        let mut endpoint = None;
        if record.state.is_running() {
            let request = self
                .endpoint_requests(&wanted)?
                .into_iter()
                .find(|request| request.network == name);
            if let Some(request) = request {
                let request = EndpointRequest {
                    ports: Vec::new(),
                    ..request
                };
                let controller = Arc::clone(&self.network);
                endpoint = Some(blocking(move || Ok(controller.setup(request)?)).await?);
            }
        }
        if let Some(endpoint) = &endpoint {
            self.network_event("connect", endpoint);
        }
        container.change_anyway(|record| {
            record.networks.insert(name, settings);
            record.endpoints.extend(endpoint);
        });
        Ok(())
    }

    /// Takes a container off a network.
    pub(crate) async fn disconnect(self: &Arc<Self>, container: &Arc<Container>, network: &str) -> Result<()> {
        let _turn = container.turn.lock().await;
        let name = self.network.network(network)?.name;
        let record = container.record();
        if record.host_config.network_mode != name && !record.networks.contains_key(&name) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("container {} is not connected to network {name}", record.id),
            ));
        }
        if let Some(endpoint) = record.endpoints.iter().find(|endpoint| endpoint.network_name == name) {
            let (controller, id, network) = (Arc::clone(&self.network), record.id.clone(), name.clone());
            for failure in blocking(move || Ok(controller.disconnect(&id, &network)?)).await? {
                tracing::warn!(container = %record.id, %failure, "network");
            }
            self.network_event("disconnect", endpoint);
        }
        container.change_anyway(|record| {
            record.networks.remove(&name);
            record.endpoints.retain(|endpoint| endpoint.network_name != name);
            if record.host_config.network_mode == name {
                // What is left is on the next network, or on none.
                let next = record
                    .networks
                    .keys()
                    .next()
                    .cloned()
                    .unwrap_or_else(|| "none".to_owned());
                record.host_config.network_mode = next;
            }
        });
        Ok(())
    }

    /// The record of a container that must be running for another to join it.
    pub(crate) fn running(&self, name: &str, what: &str) -> Result<Arc<Record>> {
        let record = self.container(name)?.record();
        if record.state.is_running() {
            return Ok(record);
        }
        Err(Error::conflict(format!(
            "cannot {what} a non running container: {}",
            record.id
        )))
    }

    fn endpoint_requests(&self, record: &Record) -> Result<Vec<EndpointRequest>> {
        let mode = record.host_config.network_mode.as_str();
        let mut names: Vec<&str> = vec![mode];
        if !matches!(mode, "host" | "none") {
            names.extend(
                record
                    .networks
                    .keys()
                    .map(String::as_str)
                    .filter(|name| *name != mode && *name != "default"),
            );
        }
        let mut bindings = Some(ports::bindings(record)?);
        let mut requests = Vec::new();
        for name in names {
            let settings = record
                .networks
                .get(name)
                .or_else(|| record.networks.get("default").filter(|_| name == "bridge"));
            let settings = settings.cloned().unwrap_or_default();
            let address = settings
                .ipam_config
                .map(|ipam| ipam.ipv4_address)
                .filter(|address| !address.is_empty());
            let mac = if settings.mac_address.is_empty() {
                record.config.mac_address.clone()
            } else {
                settings.mac_address
            };
            requests.push(EndpointRequest {
                container_id: record.id.clone(),
                container_name: record.name.clone(),
                network: name.to_owned(),
                netns: NetnsRef::Path(self.netns_path(&record.id)),
                mac: if mac.is_empty() { None } else { Some(mac.parse()?) },
                ipv4: address
                    .map(|text| {
                        text.parse()
                            .map_err(|_| Error::invalid(format!("invalid IPv4 address: {text}")))
                    })
                    .transpose()?,
                aliases: settings.aliases.unwrap_or_default(),
                ports: if matches!(name, "host" | "none") {
                    Vec::new()
                } else {
                    bindings.take().unwrap_or_default()
                },
            });
        }
        Ok(requests)
    }

    /// Takes endpoints and namespace away; goes on after failures, which are logged.
    pub(crate) async fn network_down(self: &Arc<Self>, record: &Record) {
        let (engine, id, path) = (Arc::clone(self), record.id.clone(), self.netns_path(&record.id));
        let taken = blocking(move || {
            for failure in engine.network.teardown(&id) {
                tracing::warn!(container = %id, %failure, "network");
            }
            Ok(dockerd_rs_network::netns::remove(&path)?)
        });
        if let Err(error) = taken.await {
            tracing::warn!(container = %record.id, %error, "network namespace left");
        }
    }

    pub(crate) fn network_event(&self, action: &str, endpoint: &Endpoint) {
        let kind = match endpoint.network_name.as_str() {
            "host" => "host",
            "none" => "null",
            _ => "bridge",
        };
        let attributes = [
            ("container", endpoint.container_id.clone()),
            ("name", endpoint.network_name.clone()),
            ("type", kind.to_owned()),
        ];
        self.events.emit("network", action, &endpoint.network_id, attributes);
    }

    /// Writes `hosts`, `hostname` and `resolv.conf` of a container into its directory.
    pub(crate) fn write_network_files(
        &self,
        container: &Container,
        record: &Record,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let directory = self.store.directory(&container.id);
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|e| Error::failed(format!("write {}", path.display()), e))
        };
        write("hostname", &format!("{}\n", record.config.hostname))?;
        write("hosts", &hosts(record, endpoints, self.gateway(endpoints)))?;
        let host_file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        write("resolv.conf", &resolv_conf(record, &self.config.flags, &host_file))
    }

    /// The address that stands for the host (`host-gateway`).
    fn gateway(&self, endpoints: &[Endpoint]) -> String {
        let own = endpoints.iter().find_map(|endpoint| endpoint.gateway);
        let bridge = || {
            self.network
                .network("bridge")
                .ok()
                .and_then(|network| network.ipam.first().and_then(|pool| pool.gateway))
        };
        own.or_else(bridge)
            .map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string())
    }
}

/// `/etc/hosts` of a container.
fn hosts(record: &Record, endpoints: &[Endpoint], gateway: String) -> String {
    let mut text = if record.host_config.network_mode == "host" {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned()
    };
    for extra in record.host_config.extra_hosts.iter().flatten() {
        if let Some((name, address)) = extra.split_once([':', '=']) {
            let address = if address == "host-gateway" {
                gateway.as_str()
            } else {
                address.trim_matches(['[', ']'])
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    let hostname = &record.config.hostname;
    for address in endpoints.iter().filter_map(|endpoint| endpoint.ipv4) {
        let full = if record.config.domainname.is_empty() {
            hostname.clone()
        } else {
            format!("{hostname}.{} {hostname}", record.config.domainname)
        };
        let _ = writeln!(text, "{}\t{full}", address.addr());
    }
    text
}

/// `/etc/resolv.conf` of a container: the request's servers, else the daemon's, else the host's less what the container cannot reach.
fn resolv_conf(record: &Record, flags: &crate::config::Flags, host_file: &str) -> String {
    let pick = |own: &Option<Vec<String>>, daemon: &[String]| {
        own.clone()
            .filter(|list| !list.is_empty())
            .unwrap_or_else(|| daemon.to_vec())
    };
    let servers = pick(&record.host_config.dns, &flags.dns);
    let search = pick(&record.host_config.dns_search, &flags.dns_search);
    let options = pick(&record.host_config.dns_options, &flags.dns_opt);
    let shares_host = record.host_config.network_mode == "host";
    let reachable = |address: &str| shares_host || !(address.starts_with("127.") || address == "::1");
    let mut text = String::from(
        "# Generated by Docker Engine.\n# This file can be edited; Docker Engine will not make further changes once it\n# has been modified.\n\n",
    );
    let of = |key: &str| {
        host_file
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key))
            .map(str::trim)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut nameservers = if servers.is_empty() {
        of("nameserver ")
            .into_iter()
            .filter(|address| reachable(address))
            .collect()
    } else {
        servers
    };
    if nameservers.is_empty() && !shares_host {
        nameservers = vec!["8.8.8.8".to_owned(), "8.8.4.4".to_owned()];
    }
    for server in nameservers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = if search.is_empty() {
        of("search ").pop().unwrap_or_default()
    } else {
        search.join(" ")
    };
    if !search.is_empty() && search != "." {
        let _ = writeln!(text, "search {search}");
    }
    let options = if options.is_empty() {
        of("options ").pop().unwrap_or_default()
    } else {
        options.join(" ")
    };
    if !options.is_empty() {
        let _ = writeln!(text, "options {options}");
    }
    text
}

/// The files of a container's directory that are mounted over the image's.
pub(crate) fn files(directory: &Path) -> [(PathBuf, &'static str); 3] {
    [
        (directory.join("resolv.conf"), "/etc/resolv.conf"),
        (directory.join("hostname"), "/etc/hostname"),
        (directory.join("hosts"), "/etc/hosts"),
    ]
}
