//! Container networking: networks, addresses, published ports and the firewall behind them, all by netlink.
//!
//! The crate serves one daemon. A [`Controller`] keeps its networks and endpoints, [`netns`] makes the namespaces that
//! containers live in, [`files`] writes the three files that tell a container its name and its resolver. It is synchronous and
//! starts no program: what `ip`, `iptables`, `nft` and `conntrack` would do goes to the kernel directly, as messages on
//! sockets.
//!
//! # Decided first, then done, and written down in between
//!
//! Attaching a container has three parts. *Decide*: under a lock, take an identity, an address and ports. *Write down*: one
//! small file, renamed into place. *Do*: one request makes the pair of links, one end in the container; a thread that enters
//! the container's namespace gives it address and route; one atomic batch tells the firewall. A daemon killed between any two
//! finds a record of all that may be half there, and takes away what belongs to no living container. What lives needs no
//! daemon: links, addresses, rules and connections are the kernel's, and a restart touches none of them.
//!
//! # No process per port, no copy
//!
//! Packets to a published port are sent on by the kernel: from outside, from the host itself (`127.0.0.1` too), from other
//! containers, and from the container to itself. The daemon only holds the port by a socket, so that nobody else takes it. The
//! container sees its client's own address. A port published on `127.0.0.1` is unreachable from outside even where
//! somebody made `route_localnet` global. All ports are elements of two maps; the number of rules depends on the number of
//! networks alone.
//!
//! # Room
//!
//! Drivers, address management and the firewall are modules of their own behind narrow interfaces (`driver::Driver`,
//! `ipam::Addresses`, `firewall::Firewall`). IPv6, macvlan, ipvlan and name service have their places there and are not built
//! yet.

mod addr;
mod config;
mod controller;
mod driver;
mod error;
pub mod files;
mod firewall;
mod ids;
mod ipam;
mod netlink;
pub mod netns;
mod ports;
mod state;
mod sysctl;
mod types;

pub use addr::{Ipv4Net, MacAddr};
pub use config::{Backend, Config, PoolConfig, default_pools};
pub use controller::Controller;
pub use error::{Error, ErrorKind, Failure, Result};
pub use types::{
    Alive, BoundPort, Endpoint, EndpointRequest, IpamPool, NetnsRef, Network, NetworkSpec, PortBinding, Protocol,
    Restored,
};
