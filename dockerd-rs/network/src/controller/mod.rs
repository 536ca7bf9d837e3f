//! The controller: networks and endpoints of one daemon, kept across its restarts.
//!
//! What it knows is under one lock that is never held over a call to the kernel that takes long, so that looking at networks
//! never waits for a container that is being attached. What it does to the kernel comes after the decision is written down:
//! a daemon killed at any line finds, when it comes again, a record of everything that may be half there.

mod endpoints;
mod guardian;
mod networks;
mod open;
mod reaper;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::error::{Error, Failure, Result};
use crate::firewall::{Firewall, Ruleset, survey};
use crate::ipam::Addresses;
use crate::ports::Ports;
use crate::state::{NetworkRecord, Store};
use crate::sysctl;
use crate::types::{Endpoint, Network};
use guardian::Guardian;
use reaper::Reaper;

/// Keeps the networks of one daemon.
///
/// All its work is done in the network namespace of the calling thread, which must be the same for every call. It is
/// synchronous: an asynchronous caller uses a thread for blocking work.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    store: Arc<Store>,
    known: Arc<Mutex<Known>>,
    wall: Arc<Mutex<Wall>>,
    /// Held while networks come and go.
    networks_change: Mutex<()>,
    reaper: Reaper,
    guardian: Option<Guardian>,
}

/// What is known of networks and endpoints.
#[derive(Debug, Default)]
struct Known {
    networks: BTreeMap<String, Standing>,
    endpoints: BTreeMap<String, Endpoint>,
    ports: Ports,
    /// Ports that could not be held again at start.
    lost_ports: Vec<Failure>,
}

/// A network with its addresses; `host` and `none` have none.
#[derive(Debug)]
struct Standing {
    record: NetworkRecord,
    addresses: Option<Addresses>,
}

/// The firewall and what it is meant to be.
#[derive(Debug)]
struct Wall {
    backend: Box<dyn Firewall>,
    rules: Ruleset,
}

/// A lock whose holder panicked is taken all the same: the data are changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// The network of this name, full id, or unambiguous prefix of an id, in this order.
    fn find(&self, name_or_id: &str) -> Result<&NetworkRecord> {
        let records = || self.networks.values().map(|standing| &standing.record);
        let exact = records()
            .find(|record| record.name == name_or_id)
            .or_else(|| self.networks.get(name_or_id).map(|standing| &standing.record));
        if let Some(record) = exact {
            return Ok(record);
        }
        let mut fitting = records().filter(|record| !name_or_id.is_empty() && record.id.starts_with(name_or_id));
        match (fitting.next(), fitting.next()) {
            (Some(record), None) => Ok(record),
            (Some(_), Some(_)) => Err(Error::NetworkAmbiguous(name_or_id.to_owned())),
            _ => Err(Error::NetworkNotFound(name_or_id.to_owned())),
        }
    }

    fn endpoints_of<'a>(&'a self, container_id: &'a str) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints
            .values()
            .filter(move |endpoint| endpoint.container_id == container_id)
    }

    fn show(&self, record: &NetworkRecord) -> Network {
        let on_it = |endpoint: &&Endpoint| endpoint.network_id == record.id;
        let mut endpoints: Vec<_> = self.endpoints.values().filter(on_it).cloned().collect();
        endpoints.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        Network {
            id: record.id.clone(),
            name: record.name.clone(),
            driver: record.driver.clone(),
            scope: "local",
            created: record.created,
            internal: record.internal,
            attachable: record.attachable,
            ipam: record.ipam.clone(),
            options: record.options.clone(),
            labels: record.labels.clone(),
            interface: record.interface.clone(),
            endpoints,
        }
    }
}

impl Controller {
    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every network, in order of its name.
    pub fn networks(&self) -> Vec<Network> {
        let known = lock(&self.known);
        let mut all: Vec<_> = known
            .networks
            .values()
            .map(|standing| known.show(&standing.record))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The network of this name, id, or unambiguous prefix of an id.
    pub fn network(&self, name_or_id: &str) -> Result<Network> {
        let known = lock(&self.known);
        known.find(name_or_id).map(|record| known.show(record))
    }

    /// A container's endpoints, in order of their interface's name.
    pub fn endpoints(&self, container_id: &str) -> Vec<Endpoint> {
        let mut all: Vec<_> = lock(&self.known).endpoints_of(container_id).cloned().collect();
        all.sort_by(|a, b| a.interface.cmp(&b.interface));
        all
    }

    /// Puts the firewall back as it should be, whole, in one atomic change, as happens by itself some milliseconds after
    /// somebody changed our table. Connections that stand are not touched.
    pub fn reconcile(&self) -> Result<()> {
        let mut wall = lock(&self.wall);
        let Wall { backend, rules } = &mut *wall;
        backend.replace(rules)
    }

    /// What an administrator should know about this host, for `docker info`: why containers may have no network.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match sysctl::get("ipv4/ip_forward") {
            Ok(value) if value == "0" => warnings.push("WARNING: IPv4 forwarding is disabled".to_owned()),
            _ => {}
        }
        if self.config.firewall {
            let chains = survey::dropping_chains().unwrap_or_else(|error| {
                tracing::warn!(%error, "the host's other firewall tables are not known");
                Vec::new()
            });
            let text =
                |chain| format!("WARNING: {chain} drops forwarded packets it does not know, those of containers too");
            warnings.extend(chains.into_iter().map(text));
        }
        warnings
    }
}
