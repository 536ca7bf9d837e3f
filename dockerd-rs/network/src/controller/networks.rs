//! Making networks and taking them away.

use std::time::SystemTime;

use super::{Controller, Standing, Wall, lock};
use crate::addr::Ipv4Net;
use crate::driver::{self, bridge};
use crate::error::{Error, Result};
use crate::ids;
use crate::ipam::{self, Addresses};
use crate::netlink::route::Route;
use crate::state::NetworkRecord;
use crate::types::{Network, NetworkSpec};

/// Names that are never a user's network.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
/// Digits of a network's id in its bridge's name.
const NAME_DIGITS: usize = 12;

impl Controller {
    /// Makes a network of the bridge driver.
    pub fn create_network(&self, spec: NetworkSpec) -> Result<Network> {
        let _alone = lock(&self.networks_change);
        let record = self.plan_network(spec)?;
        let driver = driver::by_name(&record.driver)?;
        self.store.put_network(&record)?;
        let made = driver.raise(&record).and_then(|()| self.wall_in(&record));
        if let Err(error) = made {
            let undone = [
                driver.dissolve(&record),
                self.wall_out(&record),
                self.store.remove_network(&record.id),
            ];
            for failure in undone.into_iter().filter_map(Result::err) {
                tracing::warn!(network = %record.name, %failure, "left behind by a failed creation");
            }
            return Err(error);
        }
        let mut known = lock(&self.known);
        known.add(record.clone());
        Ok(known.show(&record))
    }

    /// Takes a network away that has no endpoint.
    pub fn remove_network(&self, name_or_id: &str) -> Result<()> {
        let _alone = lock(&self.networks_change);
        let standing = {
            let mut known = lock(&self.known);
            let record = known.find(name_or_id)?;
            if PREDEFINED.contains(&record.name.as_str()) {
                return Err(Error::PredefinedRemove(record.name.clone()));
            }
            let (id, name) = (record.id.clone(), record.name.clone());
            if let Some(endpoint) = known.endpoints.values().find(|endpoint| endpoint.network_id == id) {
                let (endpoint, id) = (
                    endpoint.container_name.clone(),
                    endpoint.endpoint_id.chars().take(12).collect(),
                );
                return Err(Error::NetworkInUse { name, endpoint, id });
            }
            known.networks.remove(&id).ok_or(Error::NetworkNotFound(name))?
        };
        let record = &standing.record;
        let gone = driver::by_name(&record.driver).and_then(|driver| driver.dissolve(record));
        let gone = gone
            .and_then(|()| self.wall_out(record))
            .and_then(|()| self.store.remove_network(&record.id));
        if gone.is_err() {
            lock(&self.known).networks.insert(record.id.clone(), standing);
        }
        gone
    }

    /// Checks a request and fills it in.
    fn plan_network(&self, spec: NetworkSpec) -> Result<NetworkRecord> {
        let driver = if spec.driver.is_empty() {
            "bridge".to_owned()
        } else {
            spec.driver.clone()
        };
        if PREDEFINED.contains(&spec.name.as_str()) {
            return Err(Error::PredefinedCreate(spec.name));
        }
        if spec.name.trim().is_empty() || spec.name.contains('/') {
            return Err(Error::InvalidName(spec.name));
        }
        driver::by_name(&driver)?;
        if driver != "bridge" {
            return Err(Error::OnlyOne(driver));
        }
        let mut options = bridge::Options::read(&spec.options)?;
        let taken = self.taken_subnets(&spec)?;
        let (_, pool) = ipam::resolve(&spec.ipam, || self.choose_subnet(&taken))?;
        let id = ids::new_id()?;
        let digits: String = id.chars().take(NAME_DIGITS).collect();
        let interface = options.name.take().unwrap_or_else(|| format!("br-{digits}"));
        // A bridge that stands already was named by the user, who keeps it.
        let owned = Route::open()?.link(&interface)?.is_none_or(|link| link.is_ours());
        let mut stored = spec.options;
        if options.mtu == 0 && self.config.mtu > 0 {
            stored.insert(bridge::option::MTU.to_owned(), self.config.mtu.to_string());
        }
        Ok(NetworkRecord {
            id,
            name: spec.name,
            driver,
            created: SystemTime::now(),
            internal: spec.internal,
            attachable: spec.attachable,
            ipam: vec![pool],
            subnet_chosen: spec.ipam.subnet.is_some(),
            options: stored,
            labels: spec.labels,
            interface,
            owned,
        })
    }

    /// The subnets of all networks; an error when the one asked for meets one of them, or its name is taken.
    fn taken_subnets(&self, spec: &NetworkSpec) -> Result<Vec<Ipv4Net>> {
        let known = lock(&self.known);
        let records = || known.networks.values().map(|standing| &standing.record);
        if records().any(|record| record.name == spec.name) {
            return Err(Error::NetworkExists(spec.name.clone()));
        }
        let taken: Vec<_> = records()
            .flat_map(|record| record.ipam.iter().filter_map(|pool| pool.subnet))
            .collect();
        match spec.ipam.subnet {
            Some(subnet) if taken.iter().any(|other| other.overlaps(subnet)) => Err(Error::PoolOverlaps),
            _ => Ok(taken),
        }
    }

    /// A subnet of the default pools that neither a network has nor the host has a route to.
    pub(super) fn choose_subnet(&self, taken: &[Ipv4Net]) -> Result<Ipv4Net> {
        let routed = Route::open()?.routed_subnets()?;
        ipam::choose_subnet(&self.config.pools, &[taken, &routed].concat())
    }

    /// Lets the firewall know of a bridge.
    pub(super) fn wall_in(&self, record: &NetworkRecord) -> Result<()> {
        let Some(bridge_rules) = bridge::rules(record)? else {
            return Ok(());
        };
        let mut wall = lock(&self.wall);
        let Wall { backend, rules } = &mut *wall;
        rules.bridges.insert(record.interface.clone(), bridge_rules);
        backend.replace(rules)
    }

    fn wall_out(&self, record: &NetworkRecord) -> Result<()> {
        let mut wall = lock(&self.wall);
        let Wall { backend, rules } = &mut *wall;
        match rules.bridges.remove(&record.interface) {
            Some(_) => backend.replace(rules),
            None => Ok(()),
        }
    }
}

impl super::Known {
    /// Adds a network with fresh addresses.
    pub(super) fn add(&mut self, record: NetworkRecord) {
        let pool = record.ipam.first();
        let addresses = pool.and_then(|pool| Some(Addresses::new(pool.subnet?, pool)));
        self.networks.insert(record.id.clone(), Standing { record, addresses });
    }
}
