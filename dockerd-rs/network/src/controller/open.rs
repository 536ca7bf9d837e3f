//! Start and end of a controller: opening its state, taking living containers up again, leaving the host as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::endpoints::publications;
use super::guardian::Guardian;
use super::reaper::Reaper;
use super::{Controller, Known, Wall, lock};
use crate::addr::Ipv4Net;
use crate::config::Config;
use crate::driver::bridge::option;
use crate::driver::{self, bridge};
use crate::error::{Error, Failure, Result};
use crate::firewall::{self, Ruleset};
use crate::ids;
use crate::ipam;
use crate::netlink::route::{Link, Route};
use crate::state::{NetworkRecord, Store};
use crate::sysctl;
use crate::types::{Alive, IpamPool, Restored};

const FORWARD: &str = "ipv4/ip_forward";

impl Controller {
    /// Opens the state, sees to it that the predefined networks stand, holds the ports of all endpoints again and writes the
    /// firewall. Endpoints of a former run go on meanwhile; [`Controller::restore`] then sorts them.
    pub fn open(config: Config) -> Result<Self> {
        if config.has_default_bridge() && !bridge::is_interface_name(&config.bridge) {
            return Err(Error::InvalidName(config.bridge));
        }
        let store = Store::open(&config.state_dir)?;
        let backend = firewall::choose(&config);
        let guard = switch_forwarding(&config, &store)?;
        let known = Arc::new(Mutex::new(Known::default()));
        let store = Arc::new(store);
        let wall = Wall {
            backend,
            rules: Ruleset {
                guard,
                ..Ruleset::default()
            },
        };
        let mut controller = Self {
            reaper: Reaper::start(&known, &store)?,
            store,
            known,
            wall: Arc::new(Mutex::new(wall)),
            guardian: None,
            networks_change: Mutex::new(()),
            config,
        };
        let mut records = controller.store.networks()?;
        let endpoints = controller.store.endpoints()?;
        let in_use: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.network_id.clone()).collect();
        controller.add_predefined(&mut records, &in_use)?;
        for record in records {
            controller.raise(record)?;
        }
        for endpoint in endpoints {
            controller.resume(endpoint);
        }
        controller.reconcile()?;
        controller.guardian = Guardian::start(&controller.wall)?;
        Ok(controller)
    }

    /// Lets a known network stand again. That of a user may fail without holding up the daemon: the next container says why.
    fn raise(&self, record: NetworkRecord) -> Result<()> {
        let raised = driver::by_name(&record.driver).and_then(|driver| driver.raise(&record));
        match raised {
            Err(error) if record.name == "bridge" => return Err(error),
            Err(error) => tracing::warn!(network = %record.name, %error, "network does not stand"),
            Ok(()) => {}
        }
        if let Some(bridge_rules) = bridge::rules(&record)? {
            lock(&self.wall)
                .rules
                .bridges
                .insert(record.interface.clone(), bridge_rules);
        }
        lock(&self.known).add(record);
        Ok(())
    }

    /// Takes up an endpoint of a former run: its address and ports are taken.
    fn resume(&self, endpoint: crate::types::Endpoint) {
        let mut known = lock(&self.known);
        let standing = known.networks.get_mut(&endpoint.network_id);
        let addresses = standing.and_then(|standing| standing.addresses.as_mut());
        if let (Some(addresses), Some(address)) = (addresses, endpoint.ipv4) {
            addresses.resume(address.addr());
        }
        let container_ip = endpoint.ipv4.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Net::addr);
        for port in &endpoint.ports {
            if let Err(error) = known.ports.resume(port, container_ip) {
                let step = format!(
                    "hold port {}/{} of {}",
                    port.host_port, port.protocol, endpoint.container_name
                );
                known.lost_ports.push(Failure { step, error });
            }
        }
        lock(&self.wall).rules.ports.extend(publications(&endpoint));
        known.endpoints.insert(endpoint.endpoint_id.clone(), endpoint);
    }

    /// To be called once after `open`: endpoints of the containers in `alive` go on as they are, all others are taken away,
    /// with every link on our bridges that nobody knows.
    pub fn restore(&self, alive: &[Alive]) -> Restored {
        let alive: BTreeSet<_> = alive.iter().map(|container| container.container_id.as_str()).collect();
        let (living, dead): (Vec<_>, Vec<_>) = {
            let known = lock(&self.known);
            known
                .endpoints
                .values()
                .cloned()
                .partition(|endpoint| alive.contains(endpoint.container_id.as_str()))
        };
        let mut restored = Restored::default();
        let dead: BTreeSet<_> = dead.into_iter().map(|endpoint| endpoint.container_id).collect();
        for container_id in dead {
            restored.failures.extend(self.teardown(&container_id));
            restored.removed.push(container_id);
        }
        restored.failures.extend(self.reaper.finish());
        restored.failures.append(&mut lock(&self.known).lost_ports);
        for endpoint in living {
            if let Some(error) = self.missing_link(&endpoint) {
                restored.failures.push(Failure {
                    step: format!("link {}", endpoint.host_interface),
                    error,
                });
            }
            restored.kept.push(endpoint);
        }
        if let Err(error) = self.sweep() {
            restored.failures.push(Failure {
                step: "links nobody knows".to_owned(),
                error,
            });
        }
        restored
    }

    fn missing_link(&self, endpoint: &crate::types::Endpoint) -> Option<Error> {
        if endpoint.host_interface.is_empty() {
            return None;
        }
        match self.driver_of(endpoint).and_then(|driver| driver.is_attached(endpoint)) {
            Ok(true) => None,
            Ok(false) => Some(bridge::gone(&endpoint.host_interface)),
            Err(error) => Some(error),
        }
    }

    /// Deletes links on our own bridges that no endpoint has.
    fn sweep(&self) -> Result<()> {
        // The links first: whoever attaches a container meanwhile writes down its link before making it.
        let mut route = Route::open()?;
        let links = route.links()?;
        let (ours, known) = {
            let known = lock(&self.known);
            let records = known.networks.values().map(|standing| &standing.record);
            let ours: BTreeSet<_> = records
                .filter(|record| record.owned)
                .map(|record| record.interface.clone())
                .collect();
            let links: BTreeSet<_> = known
                .endpoints
                .values()
                .map(|endpoint| endpoint.host_interface.clone())
                .collect();
            (ours, links)
        };
        let bridges: BTreeMap<_, _> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
        for link in &links {
            let on_ours = bridges.get(&link.master).is_some_and(|bridge| ours.contains(*bridge));
            if on_ours && link.name.starts_with("veth") && !known.contains(&link.name) {
                route.delete_link(&link.name)?;
            }
        }
        Ok(())
    }

    /// Takes everything away: endpoints, bridges, the table, the forwarding switch if it was ours, the state. Goes on after a
    /// failure and returns them all.
    pub fn destroy(mut self) -> Vec<Failure> {
        drop(self.guardian.take());
        let containers: BTreeSet<_> = lock(&self.known)
            .endpoints
            .values()
            .map(|endpoint| endpoint.container_id.clone())
            .collect();
        let mut failures: Vec<_> = containers.iter().flat_map(|id| self.teardown(id)).collect();
        failures.extend(self.reaper.finish());
        let mut attempt = |step: String, result: Result<()>| {
            failures.extend(result.err().map(|error| Failure { step, error }));
        };
        for standing in lock(&self.known).networks.values() {
            let record = &standing.record;
            let gone = driver::by_name(&record.driver).and_then(|driver| driver.dissolve(record));
            attempt(format!("network {}", record.name), gone);
        }
        attempt("firewall".to_owned(), lock(&self.wall).backend.remove());
        attempt("forwarding".to_owned(), switch_forwarding_back(&self.store));
        attempt("state".to_owned(), self.store.destroy());
        failures
    }

    /// Sees to it that `bridge`, `host` and `none` are among the records, as the settings want them.
    fn add_predefined(&self, records: &mut Vec<NetworkRecord>, in_use: &BTreeSet<String>) -> Result<()> {
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if !records.iter().any(|record| record.name == name) {
                let record = blank(name, driver)?;
                self.store.put_network(&record)?;
                records.push(record);
            }
        }
        let old = records.iter().position(|record| record.name == "bridge");
        if !self.config.has_default_bridge() {
            if let Some(old) = old {
                let old = records.remove(old);
                driver::by_name(&old.driver)?.dissolve(&old)?;
                self.store.remove_network(&old.id)?;
            }
            return Ok(());
        }
        let old = old.map(|index| records.remove(index));
        let subnets: Vec<_> = records
            .iter()
            .flat_map(|record| record.ipam.iter().filter_map(|pool| pool.subnet))
            .collect();
        let record = self.default_bridge(old.as_ref(), in_use, &subnets)?;
        if old.as_ref() != Some(&record) {
            self.store.put_network(&record)?;
        }
        records.push(record);
        Ok(())
    }

    /// The record of the default bridge. A subnet it has had stays its own unless the settings say otherwise, and then too
    /// as long as containers of a former run are on it.
    fn default_bridge(
        &self,
        old: Option<&NetworkRecord>,
        in_use: &BTreeSet<String>,
        taken: &[Ipv4Net],
    ) -> Result<NetworkRecord> {
        let mut record = match old {
            Some(old) if in_use.contains(&old.id) => return Ok(old.clone()),
            Some(old) => old.clone(),
            None => blank("bridge", "bridge")?,
        };
        let old_subnet = record.ipam.first().and_then(|pool| pool.subnet);
        let mut route = Route::open()?;
        let standing = route.link(&self.config.bridge)?;
        let address = match &standing {
            Some(link) if link.is_bridge => route.addresses(link.index)?.into_iter().next(),
            _ => None,
        };
        let was_ours = old.is_some_and(|old| old.owned && old.interface == self.config.bridge);
        record.owned = was_ours || standing.as_ref().is_none_or(Link::is_ours);
        let wanted = IpamPool {
            subnet: self.config.bip.or(address).or(old_subnet),
            gateway: self.config.bip.or(address).map(Ipv4Net::addr),
            ip_range: self.config.fixed_cidr.map(Ipv4Net::network),
            ..IpamPool::default()
        };
        let (subnet, pool) = ipam::resolve(&wanted, || self.choose_subnet(taken))?;
        if record.owned && old.is_some_and(|old| old.interface != self.config.bridge || old_subnet != Some(subnet)) {
            // The settings changed: the bridge is made anew.
            for name in [&record.interface, &self.config.bridge] {
                route.delete_link(name)?;
            }
        }
        record.ipam = vec![pool];
        record.interface.clone_from(&self.config.bridge);
        record.options = self.default_options();
        Ok(record)
    }

    fn default_options(&self) -> BTreeMap<String, String> {
        let host_ip = self.config.default_host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mtu = if self.config.mtu == 0 { 1500 } else { self.config.mtu };
        [
            (option::DEFAULT, "true".to_owned()),
            (option::ICC, self.config.icc.to_string()),
            (option::MASQUERADE, self.config.ip_masq.to_string()),
            (option::HOST_IP, host_ip.to_string()),
            (option::NAME, self.config.bridge.clone()),
            (option::MTU, mtu.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn blank(name: &str, driver: &str) -> Result<NetworkRecord> {
    Ok(NetworkRecord {
        id: ids::new_id()?,
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: SystemTime::now(),
        internal: false,
        attachable: false,
        ipam: Vec::new(),
        subnet_chosen: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        interface: String::new(),
        owned: false,
    })
}

/// Switches forwarding on where it is off, and remembers having done so for as long as the machine is up. True when the
/// firewall is to keep the host from routing between its own links because of that.
fn switch_forwarding(config: &Config, store: &Store) -> Result<bool> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let mut host = store.host()?;
    let before = host.clone();
    if sysctl::get(FORWARD)? == "0" && config.ip_forward {
        host.forwarding_switched_in = Some(boot.clone());
    } else if host.forwarding_switched_in.as_ref() != Some(&boot) {
        host.forwarding_switched_in = None;
    }
    if host != before {
        store.put_host(&host)?;
    }
    let ours = host.forwarding_switched_in.is_some();
    if ours && config.ip_forward {
        sysctl::set(FORWARD, "1")?;
    }
    Ok(ours && config.forward_guard)
}

fn switch_forwarding_back(store: &Store) -> Result<()> {
    if store.host()?.forwarding_switched_in.is_some() {
        sysctl::set(FORWARD, "0")?;
    }
    Ok(())
}
