//! The words of the public interface: networks, endpoints, ports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::addr::{Ipv4Net, MacAddr};
use crate::error::Error;

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(Error::InvalidProtocol(text.to_owned())),
        }
    }
}

/// A port to publish. Ranges on the container's side are expanded by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortBinding {
    /// The container's port.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The host's address; none is every IPv4 address of the host (`0.0.0.0`).
    pub host_ip: Option<IpAddr>,
    /// The host's port, or the first of the range one is taken from; 0 is any of the ephemeral range.
    pub host_port: u16,
    /// Last port of the range; equal to `host_port`, or 0, for a single port.
    pub host_port_end: u16,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundPort {
    /// The container's port.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` for all.
    pub host_ip: Ipv4Addr,
    /// The host's port.
    pub host_port: u16,
}

/// How a network namespace is named.
#[derive(Debug)]
pub enum NetnsRef {
    /// A file the namespace is bound to, or `/proc/PID/ns/net`.
    Path(PathBuf),
    /// The namespace of this process.
    Pid(u32),
    /// An open namespace file.
    Fd(OwnedFd),
}

/// What to attach to which network.
#[derive(Debug)]
pub struct EndpointRequest {
    /// The container's full id.
    pub container_id: String,
    /// The container's name, without the leading slash.
    pub container_name: String,
    /// The network's name or id.
    pub network: String,
    /// The container's network namespace.
    pub netns: NetnsRef,
    /// A fixed hardware address; else one derived from the IP address.
    pub mac: Option<MacAddr>,
    /// A fixed address; else the next free one.
    pub ipv4: Option<Ipv4Addr>,
    /// Other names of the container on this network.
    pub aliases: Vec<String>,
    /// Ports to publish.
    pub ports: Vec<PortBinding>,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hex digits.
    pub endpoint_id: String,
    /// The network's id.
    pub network_id: String,
    /// The network's name.
    pub network_name: String,
    /// The container's full id.
    pub container_id: String,
    /// The container's name.
    pub container_name: String,
    /// Name of the interface in the container (`eth0`); empty on `host` and `none`.
    pub interface: String,
    /// Name of the host's end of the pair; empty on `host` and `none`.
    pub host_interface: String,
    /// Hardware address; none on `host` and `none`.
    pub mac: Option<MacAddr>,
    /// Address and prefix; none on `host` and `none`.
    pub ipv4: Option<Ipv4Net>,
    /// Default gateway; none on `host`, `none` and internal networks.
    pub gateway: Option<Ipv4Addr>,
    /// Other names of the container on this network.
    pub aliases: Vec<String>,
    /// Published ports.
    pub ports: Vec<BoundPort>,
}

/// One address pool of a network (an element of `IPAM.Config`, API v1.40).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPool {
    /// The subnet; none takes one of the default pools.
    pub subnet: Option<Ipv4Net>,
    /// The part of the subnet that addresses are given from.
    pub ip_range: Option<Ipv4Net>,
    /// The gateway; the first address of the subnet by default.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses never given out, by name.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}

/// A network to create (API v1.40, `POST /networks/create`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge`; empty is `bridge` too.
    pub driver: String,
    /// Without a way out.
    pub internal: bool,
    /// Kept for the API; it matters to swarm alone.
    pub attachable: bool,
    /// Address pool. The bridge driver takes one.
    pub ipam: IpamPool,
    /// `com.docker.network.*` options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A network, as `GET /networks/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Always `local`.
    pub scope: &'static str,
    /// When it was made.
    pub created: SystemTime,
    /// Without a way out.
    pub internal: bool,
    /// See [`NetworkSpec::attachable`].
    pub attachable: bool,
    /// Address pools with subnet and gateway filled in; none for `host` and `none`.
    pub ipam: Vec<IpamPool>,
    /// Options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the bridge interface; empty for `host` and `none`.
    pub interface: String,
    /// The endpoints on it, in order of their container's id.
    pub endpoints: Vec<Endpoint>,
}

/// A container that lives on across a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Its full id.
    pub container_id: String,
}

/// What [`Controller::restore`](crate::Controller::restore) found and did.
#[derive(Debug, Default)]
pub struct Restored {
    /// Endpoints of living containers, which go on as they were.
    pub kept: Vec<Endpoint>,
    /// Container ids whose endpoints were taken away.
    pub removed: Vec<String>,
    /// What could not be put right: a port that somebody took meanwhile, a link that would not go.
    pub failures: Vec<crate::error::Failure>,
}
