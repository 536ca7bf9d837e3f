//! Attaching containers to networks and taking them off.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use super::{Controller, Known, Wall, lock};
use crate::addr::{Ipv4Net, MacAddr};
use crate::driver::{self, bridge};
use crate::error::{Error, Failure, Result};
use crate::firewall::Publication;
use crate::ids;
use crate::netlink::conntrack::Forget;
use crate::netns;
use crate::state::NetworkRecord;
use crate::sysctl;
use crate::types::{BoundPort, Endpoint, EndpointRequest, Protocol};

/// Digits of the endpoint's id in the name of the host's link; with `veth` before them they fit a name's 15 bytes.
const LINK_DIGITS: usize = 9;

impl Controller {
    /// Attaches a container to a network and publishes its ports. On failure nothing is left behind.
    ///
    /// On `host` and `none` there is nothing to attach, and the request's namespace is not looked at; the endpoint is written
    /// down all the same, for the network's list.
    pub fn setup(&self, request: EndpointRequest) -> Result<Endpoint> {
        let (endpoint, network) = match self.reserve(&request) {
            // The address may be that of a container that has just stopped.
            Err(Error::NoAddress { .. } | Error::AddressInUse(_)) => {
                self.reaper.settle();
                self.reserve(&request)?
            }
            other => other?,
        };
        let mut made = self.connect(&endpoint, &network, &request);
        if made.as_ref().is_err_and(|error| error.is_errno(libc::EEXIST)) {
            // So may the interface, when it is the same namespace.
            self.reaper.settle();
            made = self.connect(&endpoint, &network, &request);
        }
        if let Err(error) = made {
            for failure in self.release(&endpoint) {
                tracing::warn!(container = %endpoint.container_id, %failure, "left behind by a failed attachment");
            }
            self.reaper.settle();
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Takes all of a container's endpoints away. Goes on after a failure and returns them all. A container without endpoints
    /// is no failure.
    ///
    /// Ports are free and nothing leads to the container any more when this returns; its link goes some milliseconds later
    /// ([`Controller::settle`] waits for it). A link that would not go is kept among the container's endpoints, and tried again
    /// with the next call.
    pub fn teardown(&self, container_id: &str) -> Vec<Failure> {
        let leaving: Vec<_> = {
            let mut known = lock(&self.known);
            let ids: Vec<_> = known
                .endpoints_of(container_id)
                .map(|endpoint| endpoint.endpoint_id.clone())
                .collect();
            ids.iter().filter_map(|id| known.endpoints.remove(id)).collect()
        };
        leaving.iter().flat_map(|endpoint| self.release(endpoint)).collect()
    }

    /// Takes a container's endpoint on one network away, as [`Controller::teardown`] does.
    pub fn disconnect(&self, container_id: &str, network: &str) -> Result<Vec<Failure>> {
        let leaving = {
            let mut known = lock(&self.known);
            let (id, name) = known
                .find(network)
                .map(|record| (record.id.clone(), record.name.clone()))?;
            let endpoint = known
                .endpoints_of(container_id)
                .find(|endpoint| endpoint.network_id == id);
            let endpoint = endpoint.map(|endpoint| endpoint.endpoint_id.clone());
            let not_connected = || Error::NotConnected {
                container: container_id.to_owned(),
                network: name,
            };
            endpoint
                .and_then(|id| known.endpoints.remove(&id))
                .ok_or_else(not_connected)?
        };
        let mut failures = self.release(&leaving);
        failures.extend(self.reaper.finish());
        Ok(failures)
    }

    /// Waits until the links of all containers taken off so far are gone, and the kernel's memory of UDP clients of ports
    /// published or withdrawn is cleared; returns what failed of that since the last time.
    pub fn settle(&self) -> Vec<Failure> {
        self.reaper.finish()
    }

    /// Decides: id, addresses, ports. Everything it takes is noted under the endpoint before the lock is let go.
    fn reserve(&self, request: &EndpointRequest) -> Result<(Endpoint, NetworkRecord)> {
        let mut known = lock(&self.known);
        let network = known.find(&request.network)?.clone();
        if known
            .endpoints_of(&request.container_id)
            .any(|endpoint| endpoint.network_id == network.id)
        {
            return Err(Error::EndpointExists {
                endpoint: request.container_name.clone(),
                network: network.name,
            });
        }
        let mut endpoint = Endpoint {
            endpoint_id: ids::new_id()?,
            network_id: network.id.clone(),
            network_name: network.name.clone(),
            container_id: request.container_id.clone(),
            container_name: request.container_name.clone(),
            interface: String::new(),
            host_interface: String::new(),
            mac: None,
            ipv4: None,
            gateway: None,
            aliases: request.aliases.clone(),
            ports: Vec::new(),
        };
        if driver::by_name(&network.driver)?.has_addresses() {
            let address = known.take_address(&network, request.ipv4)?;
            known.fill_in(&mut endpoint, &network, address, request.mac);
            match self.take_ports(&mut known, &network, &endpoint, request) {
                Ok(ports) => endpoint.ports = ports,
                Err(error) => {
                    known.give_back_address(&endpoint);
                    return Err(external(&endpoint, error));
                }
            }
        }
        known.endpoints.insert(endpoint.endpoint_id.clone(), endpoint.clone());
        Ok((endpoint, network))
    }

    /// Takes all the ports of a request, or none. An internal network publishes none, as with Docker.
    fn take_ports(
        &self,
        known: &mut Known,
        network: &NetworkRecord,
        endpoint: &Endpoint,
        request: &EndpointRequest,
    ) -> Result<Vec<BoundPort>> {
        let default_ip = self.default_host_ip(network)?;
        let container_ip = endpoint.ipv4.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Net::addr);
        let mut taken = Vec::new();
        for binding in request.ports.iter().filter(|_| !network.internal) {
            match known.ports.reserve(binding, default_ip, container_ip) {
                Ok(port) => taken.push(port),
                Err(error) => {
                    taken.iter().for_each(|port| known.ports.release(port));
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn default_host_ip(&self, network: &NetworkRecord) -> Result<Ipv4Addr> {
        if let Some(addr) = bridge::Options::read(&network.options)?.host_ip {
            return Ok(addr);
        }
        match self.config.default_host_ip {
            Some(IpAddr::V4(addr)) => Ok(addr),
            Some(addr) => Err(Error::HostAddressFamily(addr)),
            None => Ok(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// Does what was decided.
    fn connect(&self, endpoint: &Endpoint, network: &NetworkRecord, request: &EndpointRequest) -> Result<()> {
        self.store.put_endpoint(endpoint)?;
        let driver = driver::by_name(&network.driver)?;
        if !driver.has_addresses() {
            return Ok(());
        }
        let netns = netns::open(&request.netns)?;
        driver.attach(network, endpoint, netns.as_fd())?;
        self.publish(endpoint, network)
            .map_err(|error| external(endpoint, error))
    }

    fn publish(&self, endpoint: &Endpoint, network: &NetworkRecord) -> Result<()> {
        let added = publications(endpoint);
        if added.is_empty() {
            return Ok(());
        }
        if !self.config.firewall {
            tracing::warn!(container = %endpoint.container_name, "ports are held but lead nowhere: no firewall is kept");
            return Ok(());
        }
        if !network.interface.is_empty() {
            // Lets the host's own packets from 127.0.0.1 out to the bridge; the firewall keeps the bridge from using it.
            sysctl::set(&format!("ipv4/conf/{}/route_localnet", network.interface), "1")?;
        }
        {
            let mut wall = lock(&self.wall);
            let Wall { backend, rules } = &mut *wall;
            rules.ports.extend(added.iter().cloned());
            backend.publish(rules, &added)?;
        }
        self.reaper.forget(udp_of(endpoint));
        Ok(())
    }

    /// Undoes everything an endpoint may have, whole or half made. Its link is left to the reaper, and with it the address and
    /// the record.
    fn release(&self, endpoint: &Endpoint) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut attempt = |step: &str, result: Result<()>| {
            let step = format!("{step} of {}", endpoint.container_name);
            failures.extend(result.err().map(|error| Failure { step, error }));
        };
        attempt("firewall rules", self.withdraw(endpoint));
        if self.config.firewall {
            self.reaper.forget(udp_of(endpoint));
        }
        {
            let mut known = lock(&self.known);
            known.endpoints.remove(&endpoint.endpoint_id);
            endpoint.ports.iter().for_each(|port| known.ports.release(port));
        }
        if endpoint.host_interface.is_empty() {
            attempt("record", self.store.remove_endpoint(&endpoint.endpoint_id));
        } else {
            self.reaper.take(Endpoint {
                ports: Vec::new(),
                ..endpoint.clone()
            });
        }
        failures
    }

    pub(super) fn driver_of(&self, endpoint: &Endpoint) -> Result<&'static dyn driver::Driver> {
        let known = lock(&self.known);
        let standing = known.networks.get(&endpoint.network_id);
        // Only bridges have links; a network that is gone must have been one.
        driver::by_name(standing.map_or("bridge", |standing| standing.record.driver.as_str()))
    }

    fn withdraw(&self, endpoint: &Endpoint) -> Result<()> {
        let mut wall = lock(&self.wall);
        let Wall { backend, rules } = &mut *wall;
        let gone: Vec<_> = publications(endpoint)
            .into_iter()
            .filter(|port| rules.ports.remove(port))
            .collect();
        if gone.is_empty() {
            Ok(())
        } else {
            backend.withdraw(rules, &gone)
        }
    }
}

impl Known {
    fn take_address(&mut self, network: &NetworkRecord, fixed: Option<Ipv4Addr>) -> Result<Ipv4Net> {
        let addresses = self
            .networks
            .get_mut(&network.id)
            .and_then(|standing| standing.addresses.as_mut());
        let no_address = || Error::NoAddress {
            name: network.name.clone(),
            id: network.id.clone(),
        };
        let addresses = addresses.ok_or_else(no_address)?;
        let addr = match fixed {
            Some(_) if network.name == "bridge" => return Err(Error::FixedAddressOnDefault),
            Some(_) if !network.subnet_chosen => return Err(Error::FixedAddressWithoutSubnet),
            Some(addr) => {
                addresses.claim(addr)?;
                addr
            }
            None => addresses.allocate().ok_or_else(no_address)?,
        };
        Ipv4Net::new(addr, addresses.subnet().prefix())
    }

    pub(super) fn give_back_address(&mut self, endpoint: &Endpoint) {
        let addresses = self
            .networks
            .get_mut(&endpoint.network_id)
            .and_then(|standing| standing.addresses.as_mut());
        if let (Some(addresses), Some(address)) = (addresses, endpoint.ipv4) {
            addresses.release(address.addr());
        }
    }

    /// Names and addresses of an endpoint: the first free `ethN` of the container, and the gateway when no other of its
    /// networks is its way out.
    fn fill_in(&self, endpoint: &mut Endpoint, network: &NetworkRecord, address: Ipv4Net, mac: Option<MacAddr>) {
        let others: Vec<_> = self.endpoints_of(&endpoint.container_id).collect();
        let taken: BTreeSet<_> = others.iter().map(|other| other.interface.as_str()).collect();
        let free = (0..=others.len())
            .map(|n| format!("eth{n}"))
            .find(|name| !taken.contains(name.as_str()));
        endpoint.interface = free.unwrap_or_default();
        let digits: String = endpoint.endpoint_id.chars().take(LINK_DIGITS).collect();
        endpoint.host_interface = format!("veth{digits}");
        endpoint.mac = Some(mac.unwrap_or_else(|| MacAddr::from_ipv4(address.addr())));
        endpoint.ipv4 = Some(address);
        let has_way_out = others.iter().any(|other| other.gateway.is_some());
        let gateway = network.ipam.first().and_then(|pool| pool.gateway);
        endpoint.gateway = gateway.filter(|_| !network.internal && !has_way_out);
    }
}

/// The ports of an endpoint as the firewall sees them.
pub(super) fn publications(endpoint: &Endpoint) -> Vec<Publication> {
    let Some(address) = endpoint.ipv4 else {
        return Vec::new();
    };
    endpoint
        .ports
        .iter()
        .map(|port| Publication::new(port, address.addr()))
        .collect()
}

/// The connections of UDP clients of an endpoint's ports.
fn udp_of(endpoint: &Endpoint) -> Forget {
    let udp = endpoint.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    Forget {
        host_ports: udp.map(|port| port.host_port).collect(),
        containers: endpoint.ipv4.iter().map(|address| address.addr()).collect(),
    }
}

fn external(endpoint: &Endpoint, source: Error) -> Error {
    Error::External {
        name: endpoint.container_name.clone(),
        id: endpoint.endpoint_id.clone(),
        source: Box::new(source),
    }
}
