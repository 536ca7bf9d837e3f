//! What can go wrong, and what kind of failure it is for a caller that speaks HTTP.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::types::Protocol;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a network operation. Texts that clients of Docker match on are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No network goes by this name, id or prefix of an id.
    #[error("network {0} not found")]
    NetworkNotFound(String),
    /// A prefix of an id fits several networks.
    #[error("network {0} is ambiguous (matches found based on ID prefix)")]
    NetworkAmbiguous(String),
    /// A network of that name is there already.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// `bridge`, `host` or `none` asked for at create.
    #[error("operation is not permitted on predefined {0} network")]
    PredefinedCreate(String),
    /// `bridge`, `host` or `none` asked to go.
    #[error("{0} is a pre-defined network and cannot be removed")]
    PredefinedRemove(String),
    /// The network still has containers.
    #[error("error while removing network: network {name} has active endpoints (name:\"{endpoint}\" id:\"{id}\")")]
    NetworkInUse {
        /// The network's name.
        name: String,
        /// Name of one of the containers on it.
        endpoint: String,
        /// Its endpoint's id, first twelve digits.
        id: String,
    },
    /// The container is on that network already.
    #[error("endpoint with name {endpoint} already exists in network {network}")]
    EndpointExists {
        /// The container's name.
        endpoint: String,
        /// The network's name.
        network: String,
    },
    /// The container is not on that network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        container: String,
        /// The network's name.
        network: String,
    },
    /// A second `host` or `null` network.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(String),
    /// A driver this crate does not have.
    #[error("could not find plugin {0} in v1 plugin registry: plugin \"{0}\" not found")]
    UnknownDriver(String),
    /// A network option whose value cannot be read.
    #[error("invalid value for option {option}: {value}")]
    InvalidOption {
        /// The option's key.
        option: String,
        /// The value given.
        value: String,
    },
    /// A network's or interface's name that cannot be used.
    #[error("invalid name {0:?}")]
    InvalidName(String),
    /// Text that is no IPv4 prefix.
    #[error("invalid CIDR address: {0}")]
    InvalidSubnet(String),
    /// Text that is no unicast hardware address.
    #[error("invalid MAC address: {0}")]
    InvalidMac(String),
    /// Text that is no protocol whose ports can be published.
    #[error("invalid proto: {0}")]
    InvalidProtocol(String),
    /// A gateway, range or auxiliary address outside of its subnet.
    #[error("invalid {what} {value}: not in subnet {subnet}")]
    OutsideSubnet {
        /// `gateway`, `ip-range`, `auxiliary address`.
        what: &'static str,
        /// The value given.
        value: String,
        /// The subnet it should lie in.
        subnet: String,
    },
    /// The subnet asked for meets one that another network has.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    PoolOverlaps,
    /// Every subnet of the default pools is taken by a network or a route of the host.
    #[error("all predefined address pools have been fully subnetted")]
    NoPool,
    /// The network's addresses are all given out.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    NoAddress {
        /// The network's name.
        name: String,
        /// The network's id.
        id: String,
    },
    /// The fixed address asked for is held by somebody.
    #[error("Address already in use")]
    AddressInUse(Ipv4Addr),
    /// The fixed address asked for is not of the network's subnet.
    #[error("no configured subnet contains IP address {0}")]
    AddressOutside(Ipv4Addr),
    /// A fixed address on the default bridge.
    #[error("user specified IP address is supported on user defined networks only")]
    FixedAddressOnDefault,
    /// A fixed address on a network whose subnet the user did not choose.
    #[error("user specified IP address is supported only when connecting to networks with user configured subnets")]
    FixedAddressWithoutSubnet,
    /// Another container of this engine holds the port.
    #[error("Bind for {ip}:{port} failed: port is already allocated")]
    PortAllocated {
        /// The host's address.
        ip: IpAddr,
        /// The host's port.
        port: u16,
    },
    /// A program of the host holds the port, or the address is not the host's.
    #[error("failed to bind host port for {host_ip}:{host_port}:{container_ip}:{container_port}/{protocol}: {reason}")]
    PortBind {
        /// The host's address.
        host_ip: IpAddr,
        /// The host's port.
        host_port: u16,
        /// The container's address.
        container_ip: Ipv4Addr,
        /// The container's port.
        container_port: u16,
        /// Transport protocol.
        protocol: Protocol,
        /// The system's reason, in Go's words: `address already in use`.
        reason: String,
    },
    /// No port of the range, or of the ephemeral range, is free.
    #[error("all ports are allocated")]
    NoPort,
    /// A host address of a family that is not published on.
    #[error("publishing on the IPv6 address {0} is not supported")]
    HostAddressFamily(IpAddr),
    /// Publishing a container's ports failed: the wrapper that Docker puts around the reason.
    #[error("driver failed programming external connectivity on endpoint {name} ({id}): {source}")]
    External {
        /// The container's name.
        name: String,
        /// The endpoint's id.
        id: String,
        /// The reason.
        source: Box<Error>,
    },
    /// The kernel refused a netlink request.
    #[error("{what}: {source}")]
    Netlink {
        /// The request and its object: `create link veth1a2b3c4`.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The firewall cannot be programmed.
    #[error("firewall: {what}: {source}")]
    Firewall {
        /// The step.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call on a file or a namespace failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The operation: `write`, `bind mount`.
        what: &'static str,
        /// Its object.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A state file that this version cannot read.
    #[error("state file {}: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread that works in another namespace could not be had, or died.
    #[error("worker thread for {0} failed")]
    Worker(String),
}

/// What sort of failure it is; an HTTP server maps it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the request makes no sense.
    Invalid,
    /// 403: understood, and refused.
    Forbidden,
    /// 404.
    NotFound,
    /// 409: something is in the way.
    Conflict,
    /// 500.
    Internal,
}

impl Error {
    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NetworkNotFound(_) | Self::UnknownDriver(_) => ErrorKind::NotFound,
            Self::NetworkExists(_) => ErrorKind::Conflict,
            Self::NetworkAmbiguous(_)
            | Self::InvalidOption { .. }
            | Self::InvalidName(_)
            | Self::InvalidSubnet(_)
            | Self::InvalidMac(_)
            | Self::InvalidProtocol(_)
            | Self::HostAddressFamily(_)
            | Self::FixedAddressOnDefault
            | Self::FixedAddressWithoutSubnet
            | Self::AddressOutside(_)
            | Self::OutsideSubnet { .. } => ErrorKind::Invalid,
            Self::PredefinedCreate(_)
            | Self::PredefinedRemove(_)
            | Self::OnlyOne(_)
            | Self::NetworkInUse { .. }
            | Self::EndpointExists { .. }
            | Self::NotConnected { .. }
            | Self::PoolOverlaps
            | Self::AddressInUse(_) => ErrorKind::Forbidden,
            Self::NoPool
            | Self::NoAddress { .. }
            | Self::PortAllocated { .. }
            | Self::PortBind { .. }
            | Self::NoPort
            | Self::External { .. }
            | Self::Netlink { .. }
            | Self::Firewall { .. }
            | Self::Io { .. }
            | Self::State { .. }
            | Self::Worker(_) => ErrorKind::Internal,
        }
    }

    /// Whether the kernel answered with this errno (as in `libc::ENOENT`).
    pub(crate) fn is_errno(&self, errno: i32) -> bool {
        match self {
            Self::Netlink { source, .. } | Self::Firewall { source, .. } | Self::Io { source, .. } => {
                source.raw_os_error() == Some(errno)
            }
            _ => false,
        }
    }
}

/// A step of a teardown that failed. Teardown goes on after it, so there may be several.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct Failure {
    /// What was to be taken away: `link veth1a2b3c4`, `firewall rules of 172.17.0.2`.
    pub step: String,
    /// Why it was not.
    pub error: Error,
}
