//! The controller: networks and endpoints, kept across restarts.

use crate::config::Config;
use crate::error::{Error, Failure, Result};
use crate::types::{Alive, Endpoint, EndpointRequest, Network, NetworkSpec, Restored};

/// Keeps the networks of one daemon.
#[derive(Debug)]
pub struct Controller {
    config: Config,
}

impl Controller {
    /// Opens the state and sees to it that the predefined networks stand.
    pub fn open(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every network, in order of its name.
    pub fn networks(&self) -> Vec<Network> {
        Vec::new()
    }

    /// The network of this name, id, or unambiguous prefix of an id.
    pub fn network(&self, name_or_id: &str) -> Result<Network> {
        Err(Error::NetworkNotFound(name_or_id.to_owned()))
    }

    /// Makes a network.
    pub fn create_network(&self, spec: NetworkSpec) -> Result<Network> {
        Err(Error::UnknownDriver(spec.driver))
    }

    /// Takes a network away that has no endpoint.
    pub fn remove_network(&self, name_or_id: &str) -> Result<()> {
        Err(Error::NetworkNotFound(name_or_id.to_owned()))
    }

    /// Attaches a container to a network. On failure nothing is left behind.
    pub fn setup(&self, request: EndpointRequest) -> Result<Endpoint> {
        Err(Error::NetworkNotFound(request.network))
    }

    /// Takes all of a container's endpoints away; idempotent; goes on after a failure and returns them all.
    pub fn teardown(&self, container_id: &str) -> Vec<Failure> {
        let _ = container_id;
        Vec::new()
    }

    /// Takes a container's endpoint on one network away.
    pub fn disconnect(&self, container_id: &str, network: &str) -> Result<Vec<Failure>> {
        Err(Error::NotConnected { container: container_id.to_owned(), network: network.to_owned() })
    }

    /// A container's endpoints.
    pub fn endpoints(&self, container_id: &str) -> Vec<Endpoint> {
        let _ = container_id;
        Vec::new()
    }

    /// Once after `open`: endpoints of `alive` go on, all others are taken away.
    pub fn restore(&self, alive: &[Alive]) -> Restored {
        let _ = alive;
        Restored::default()
    }

    /// Puts back what somebody flushed: the firewall table, whole.
    pub fn reconcile(&self) -> Result<()> {
        Ok(())
    }

    /// Takes everything away: endpoints, bridges, table, sysctls this crate changed.
    pub fn destroy(self) -> Vec<Failure> {
        Vec::new()
    }
}
