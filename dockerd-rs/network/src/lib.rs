//! Container networking: drivers, address management, firewall, all by netlink.

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
pub use config::{Config, PoolConfig, default_pools};
pub use controller::Controller;
pub use error::{Error, ErrorKind, Failure, Result};
pub use types::{
    Alive, BoundPort, Endpoint, EndpointRequest, IpamPool, NetnsRef, Network, NetworkSpec, PortBinding, Protocol,
    Restored,
};
