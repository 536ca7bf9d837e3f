//! What the firewall is to do for the networks, as data, and the trait of those who do it.
//!
//! The rules say: containers of a bridge go out under the host's address; a published port of the host leads to its
//! container; nothing else comes in to a container from outside its bridge. They stand in one table of our own, so whatever
//! else filters packets on the host stays untouched and keeps its say: a verdict "accept" of ours ends our chain alone, and
//! another table's chain on the same hook (iptables' FORWARD with policy DROP, ufw, firewalld) may still drop the packet.

mod expr;
mod iptables;
mod nftables;
mod plan;
pub(crate) mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::addr::Ipv4Net;
use crate::config::{Backend, Config};
use crate::error::{Error, Result};
use crate::netlink::nfnetlink::Changes;
use crate::types::{BoundPort, Protocol};

use iptables::Iptables;
use nftables::Nftables;

/// The firewall that the settings ask for. Where they leave it open it is nftables, and iptables on a kernel without that.
pub(crate) fn choose(config: &Config) -> Box<dyn Firewall> {
    let table = config.table_name();
    let by_iptables =
        |programs: &[&str]| Iptables::find(programs, &table).map(|found| Box::new(found) as Box<dyn Firewall>);
    let found = match config.firewall_backend {
        _ if !config.firewall => return Box::new(Nothing),
        Backend::Iptables => by_iptables(&["iptables", "iptables-legacy"]),
        Backend::IptablesLegacy => by_iptables(&["iptables-legacy", "iptables"]),
        Backend::Auto if Nftables::is_missing() => by_iptables(&["iptables-legacy", "iptables"]),
        Backend::Auto | Backend::Nftables => None,
    };
    // Without a program the kernel's own words, at the first change, say what is missing.
    found.unwrap_or_else(|| Box::new(Nftables::new(&table)))
}

/// A bridge and how its packets are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    pub(crate) subnet: Ipv4Net,
    /// Packets that leave to elsewhere get the host's address.
    pub(crate) masquerade: bool,
    /// The containers on it reach each other.
    pub(crate) icc: bool,
    /// Nothing leaves it.
    pub(crate) internal: bool,
}

/// A published port with the address it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Publication {
    pub(crate) protocol: Protocol,
    /// `0.0.0.0` for all addresses of the host.
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) host_port: u16,
    pub(crate) container_ip: Ipv4Addr,
    pub(crate) container_port: u16,
}

impl Publication {
    pub(crate) fn new(port: &BoundPort, container_ip: Ipv4Addr) -> Self {
        Self {
            protocol: port.protocol,
            host_ip: port.host_ip,
            host_port: port.host_port,
            container_ip,
            container_port: port.container_port,
        }
    }
}

/// All that the firewall should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// By name of the interface.
    pub(crate) bridges: BTreeMap<String, BridgeRules>,
    pub(crate) ports: BTreeSet<Publication>,
    /// Drop what is neither from nor to a bridge: forwarding was off before us.
    pub(crate) guard: bool,
}

/// Who turns a [`Ruleset`] into the kernel's rules. Every call is one atomic change. `rules` is always the whole of what should
/// be afterwards, so that an implementation which finds its rules missing can put them all back.
pub(crate) trait Firewall: fmt::Debug + Send {
    /// Puts everything in place, whatever was there before.
    fn replace(&mut self, rules: &Ruleset) -> Result<()>;
    /// Adds ports that `rules` has already.
    fn publish(&mut self, rules: &Ruleset, added: &[Publication]) -> Result<()>;
    /// Takes ports away that `rules` has no more.
    fn withdraw(&mut self, rules: &Ruleset, gone: &[Publication]) -> Result<()>;
    /// Takes everything away; nothing there is no error.
    fn remove(&mut self) -> Result<()>;
    /// What tells when somebody else changes the rules; none where there is no such thing.
    fn watch(&self) -> Result<Option<Watch>>;
}

/// Tells of changes to our table by others.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: Changes,
    table: String,
    ours: Arc<AtomicU32>,
}

impl Watch {
    /// Readable when there is something to be told.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Reads what there is; true when somebody else changed our table.
    pub(crate) fn was_changed(&mut self) -> Result<bool> {
        let ours = self.ours.load(Ordering::SeqCst);
        let told = self.changes.concern(&self.table, ours);
        told.map_err(|source| Error::Firewall {
            what: "listen for changes".to_owned(),
            source,
        })
    }
}

/// The firewall of a daemon that was told to keep none.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Firewall for Nothing {
    fn replace(&mut self, _: &Ruleset) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self, _: &Ruleset, _: &[Publication]) -> Result<()> {
        Ok(())
    }

    fn withdraw(&mut self, _: &Ruleset, _: &[Publication]) -> Result<()> {
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        Ok(())
    }

    fn watch(&self) -> Result<Option<Watch>> {
        Ok(None)
    }
}
