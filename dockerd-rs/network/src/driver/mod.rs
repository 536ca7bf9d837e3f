//! Drivers: how a kind of network stands on the host, and how a container is attached to it. They work on the kernel's links
//! alone; addresses, ports and the firewall are the controller's.

pub(crate) mod bridge;

use std::os::fd::BorrowedFd;

use crate::error::{Error, Result};
use crate::state::NetworkRecord;
use crate::types::Endpoint;

/// One kind of network.
pub(crate) trait Driver {
    /// Makes whatever of the network is missing on the host.
    fn raise(&self, network: &NetworkRecord) -> Result<()>;
    /// Takes from the host what [`Driver::raise`] made. What is not there is no error.
    fn dissolve(&self, network: &NetworkRecord) -> Result<()>;
    /// Attaches a container as the endpoint says; all of it or nothing.
    fn attach(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()>;
    /// Takes attachments away, many in about the time of one; a result for each. What is not there is no error.
    fn detach(&self, endpoints: &[&Endpoint]) -> Vec<Result<()>>;
    /// Whether the attachment is there.
    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool>;
    /// Whether containers get an interface and an address at all.
    fn has_addresses(&self) -> bool;
}

/// `host` and `none`: nothing to make, nothing to attach.
#[derive(Debug)]
pub(crate) struct Unconnected;

impl Driver for Unconnected {
    fn raise(&self, _: &NetworkRecord) -> Result<()> {
        Ok(())
    }

    fn dissolve(&self, _: &NetworkRecord) -> Result<()> {
        Ok(())
    }

    fn attach(&self, _: &NetworkRecord, _: &Endpoint, _: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn detach(&self, endpoints: &[&Endpoint]) -> Vec<Result<()>> {
        endpoints.iter().map(|_| Ok(())).collect()
    }

    fn is_attached(&self, _: &Endpoint) -> Result<bool> {
        Ok(true)
    }

    fn has_addresses(&self) -> bool {
        false
    }
}

/// The driver of that name: `bridge`, `host`, `null`.
pub(crate) fn by_name(name: &str) -> Result<&'static dyn Driver> {
    match name {
        "bridge" => Ok(&bridge::Bridge),
        "host" | "null" => Ok(&Unconnected),
        other => Err(Error::UnknownDriver(other.to_owned())),
    }
}
