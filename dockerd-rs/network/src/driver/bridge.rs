//! The bridge driver: a bridge of the kernel per network, which has the gateway's address, and a pair of virtual Ethernet links
//! per container, one end a port of the bridge, the other the container's `eth0`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use super::Driver;
use crate::addr::Ipv4Net;
use crate::error::{Error, Result};
use crate::firewall::BridgeRules;
use crate::ids;
use crate::netlink::route::{Route, VethPair};
use crate::netns;
use crate::state::NetworkRecord;
use crate::sysctl;
use crate::types::Endpoint;

/// Milliseconds that a new link is waited for on kernels before 6.8.
const RUNNING_TRIES: u32 = 200;

/// Longest name of an interface.
const NAME_MAX: usize = 15;

/// Keys of the documented options.
pub(crate) mod option {
    pub(crate) const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
    pub(crate) const ICC: &str = "com.docker.network.bridge.enable_icc";
    pub(crate) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    pub(crate) const HOST_IP: &str = "com.docker.network.bridge.host_binding_ipv4";
    pub(crate) const NAME: &str = "com.docker.network.bridge.name";
    pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
}

/// A network's options, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    /// Address that ports are published on when the request names none.
    pub(crate) host_ip: Option<Ipv4Addr>,
    pub(crate) name: Option<String>,
    /// Bytes; 0 is the kernel's default.
    pub(crate) mtu: u32,
}

impl Options {
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let name = options.get(option::NAME).filter(|name| !name.is_empty()).cloned();
        if let Some(name) = name.as_deref().filter(|name| !is_interface_name(name)) {
            return Err(Error::InvalidName(name.to_owned()));
        }
        Ok(Self {
            icc: read(options, option::ICC, read_bool)?.unwrap_or(true),
            masquerade: read(options, option::MASQUERADE, read_bool)?.unwrap_or(true),
            host_ip: read(options, option::HOST_IP, |text| text.parse().ok())?,
            name,
            mtu: read(options, option::MTU, |text| text.parse().ok())?.unwrap_or(0),
        })
    }
}

fn read<T>(options: &BTreeMap<String, String>, key: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(text) = options.get(key).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let invalid = || Error::InvalidOption {
        option: key.to_owned(),
        value: text.clone(),
    };
    parse(text).map(Some).ok_or_else(invalid)
}

/// Booleans as Go reads them.
fn read_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the kernel takes it as an interface's name, and no path is made of it.
pub(crate) fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain) && name != "." && name != ".."
}

/// The firewall's part for a bridge network.
pub(crate) fn rules(network: &NetworkRecord) -> Result<Option<BridgeRules>> {
    let Some(subnet) = network.ipam.first().and_then(|pool| pool.subnet) else {
        return Ok(None);
    };
    let options = Options::read(&network.options)?;
    Ok(Some(BridgeRules {
        subnet,
        masquerade: options.masquerade,
        icc: options.icc,
        internal: network.internal,
    }))
}

/// The bridge's address: the gateway with the subnet's prefix.
fn bridge_address(network: &NetworkRecord) -> Option<Ipv4Net> {
    let pool = network.ipam.first()?;
    Ipv4Net::new(pool.gateway?, pool.subnet?.prefix()).ok()
}

/// The bridge driver. All it knows is in the records it is given and in the kernel.
#[derive(Debug)]
pub(crate) struct Bridge;

impl Driver for Bridge {
    fn raise(&self, network: &NetworkRecord) -> Result<()> {
        let name = &network.interface;
        let mut route = Route::open()?;
        let link = match route.link(name)? {
            Some(link) => Some(link),
            None => {
                route.create_bridge(name, ids::new_mac()?, Options::read(&network.options)?.mtu)?;
                route.link(name)?
            }
        };
        let link = link.filter(|link| link.is_bridge).ok_or_else(|| Error::Netlink {
            what: format!("use {name} as a bridge"),
            source: std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        })?;
        if network.owned {
            // A container is not to be able to speak IPv6 with the host, nor to advertise itself as its router.
            sysctl::set_if_present(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
            sysctl::set_if_present(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
        }
        if let Some(address) = bridge_address(network)
            && !route.addresses(link.index)?.contains(&address)
        {
            route.add_address(link.index, name, address)?;
        }
        if !link.up {
            route.link_up(link.index, name)?;
        }
        Ok(())
    }

    fn dissolve(&self, network: &NetworkRecord) -> Result<()> {
        if network.owned {
            Route::open()?.delete_link(&network.interface)?;
        }
        Ok(())
    }

    fn attach(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let (Some(mac), Some(address)) = (endpoint.mac, endpoint.ipv4) else {
            return Ok(());
        };
        let options = Options::read(&network.options)?;
        let mut route = Route::open()?;
        let bridge = match route.link(&network.interface)? {
            Some(link) => link,
            None => {
                // Somebody took the bridge away by hand.
                self.raise(network)?;
                route
                    .link(&network.interface)?
                    .ok_or_else(|| gone(&network.interface))?
            }
        };
        route.create_veth(&VethPair {
            host_name: &endpoint.host_interface,
            bridge: bridge.index,
            peer_name: &endpoint.interface,
            peer_netns: netns,
            peer_mac: mac,
            mtu: options.mtu,
        })?;
        let made = (|| {
            let hairpin = !endpoint.ports.is_empty();
            if hairpin || !options.icc {
                route.set_bridge_port(&endpoint.host_interface, hairpin, !options.icc)?;
            }
            netns::within(netns, &endpoint.container_id, || {
                configure(&endpoint.interface, address, endpoint.gateway)
            })?;
            wait_until_running(&mut route, &endpoint.host_interface)?;
            // The bridge itself goes down with its last port and comes up with its first.
            wait_until_running(&mut route, &network.interface)
        })();
        if made.is_err()
            && let Err(error) = route.delete_link(&endpoint.host_interface)
        {
            tracing::warn!(%error, "link is left behind");
        }
        made
    }

    fn detach(&self, endpoints: &[&Endpoint]) -> Vec<Result<()>> {
        let names: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.host_interface.as_str())
            .collect();
        // All at once; when that fails, one by one, to know which.
        if Route::open().and_then(|mut route| route.delete_links(&names)).is_ok() {
            return names.iter().map(|_| Ok(())).collect();
        }
        names
            .iter()
            .map(|name| Route::open()?.delete_link(name).map(drop))
            .collect()
    }

    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool> {
        Ok(Route::open()?.link(&endpoint.host_interface)?.is_some())
    }

    fn has_addresses(&self) -> bool {
        true
    }
}

/// Waits until a link that is up at both ends is used. The kernel does so some time later by a worker of its own, and a
/// container's first packets would be lost, its first connection delayed by a second. Since Linux 6.8 asking is enough.
fn wait_until_running(route: &mut Route, name: &str) -> Result<()> {
    for _ in 0..RUNNING_TRIES {
        if route.link(name)?.is_none_or(|link| link.running) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    tracing::warn!(link = %name, "link is slow to come up");
    Ok(())
}

/// In the container's namespace: address, up, default route.
fn configure(interface: &str, address: Ipv4Net, gateway: Option<Ipv4Addr>) -> Result<()> {
    let mut route = Route::open()?;
    let link = route.link(interface)?.ok_or_else(|| gone(interface))?;
    sysctl::set_if_present(&format!("ipv6/conf/{interface}/disable_ipv6"), "1")?;
    route.add_address(link.index, interface, address)?;
    route.link_up(link.index, interface)?;
    gateway.map_or(Ok(()), |gateway| route.add_default_route(gateway))
}

/// A link that should be there is not.
pub(crate) fn gone(interface: &str) -> Error {
    Error::Netlink {
        what: format!("find link {interface}"),
        source: std::io::Error::from_raw_os_error(libc::ENODEV),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn options_have_dockers_defaults() {
        let read = Options::read(&BTreeMap::new()).unwrap();
        assert_eq!(
            read,
            Options {
                icc: true,
                masquerade: true,
                host_ip: None,
                name: None,
                mtu: 0
            }
        );
    }

    #[test]
    fn options_are_read_and_checked() {
        let good = options(&[
            (option::ICC, "false"),
            (option::MTU, "1400"),
            (option::NAME, "br0"),
            (option::HOST_IP, "127.0.0.1"),
        ]);
        let read = Options::read(&good).unwrap();
        assert_eq!((read.icc, read.mtu, read.name.as_deref()), (false, 1400, Some("br0")));
        assert_eq!(read.host_ip, Some(Ipv4Addr::LOCALHOST));
        for (key, value) in [
            (option::ICC, "maybe"),
            (option::MTU, "-1"),
            (option::HOST_IP, "::"),
            (option::NAME, "a/b"),
        ] {
            assert!(Options::read(&options(&[(key, value)])).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn interface_names_are_no_paths() {
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-bytes-xx", "ü"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
        assert!(is_interface_name("br-0123456789ab") && is_interface_name("eth0.5"));
    }
}
