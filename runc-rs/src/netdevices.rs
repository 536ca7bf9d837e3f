//! `linux.netDevices`: devices of the host that are moved into the container's network namespace, renamed in the same step, and get
//! their addresses back, as in runc: the permanent ones of global scope.
//!
//! Moving takes rights over the runtime's network namespace, so the parent does it; addresses are set from inside, by the child.

pub(crate) mod netlink;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::Error;
use crate::init::fail::{Fail, Step};
use crate::plan::netdevices::NetDevice;
use crate::words::Words;
use netlink::{
    IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS, IFA_LOCAL, IFLA_IFNAME, IFLA_NET_NS_FD, NEW, Request, Socket, attributes,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;
/// How many numbers are tried for a name that ends in `%d`: as many as the kernel tries.
const MAX_DEVICES: u32 = 32_768;
/// Bytes of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// A device with what it has on the host.
#[derive(Debug)]
pub(crate) struct Device {
    plan: NetDevice,
    index: u32,
    addresses: Vec<Address>,
}

/// An address as the kernel told it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    /// Local, peer and broadcast address, in the attributes they came in.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Looks the devices up. To be called where they are: in the runtime's network namespace.
///
/// # Errors
/// A device that is not there.
pub(crate) fn look_up(plans: &[NetDevice]) -> Result<Vec<Device>, Error> {
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: io::Error| Error::System {
        action: "fail to get ip addresses".into(),
        source: error,
    };
    let socket = Socket::open().map_err(failed)?;
    let mut devices = Vec::with_capacity(plans.len());
    for plan in plans {
        let index = index_of(&plan.host).map_err(|error| {
            let message = format!(
                "link not found for interface {} on runtime namespace: {}",
                plan.host,
                Words(&error)
            );
            Error::config("linux.netDevices", message)
        })?;
        devices.push(Device {
            plan: plan.clone(),
            index,
            addresses: Vec::new(),
        });
    }
    let everything = Request::new(RTM_GETADDR, 0, &[0; IFADDRMSG]);
    let take = |kind: u16, body: &[u8]| {
        let Some((index, address)) = (kind == RTM_NEWADDR).then(|| read_address(body)).flatten() else {
            return;
        };
        if let Some(device) = devices.iter_mut().find(|device| device.index == index) {
            device.addresses.push(address);
        }
    };
    socket.dump(everything, take).map_err(failed)?;
    Ok(devices)
}

/// Index and address of a message about an address; `None` when it stays behind: it is temporary, or not of global scope.
fn read_address(body: &[u8]) -> Option<(u32, Address)> {
    let [family, prefix, flags, scope, index @ ..] = body.first_chunk::<IFADDRMSG>()?;
    let mut flags = u32::from(*flags);
    let mut kept = Vec::new();
    for (kind, value) in attributes(body.get(IFADDRMSG..)?) {
        match kind {
            IFA_FLAGS => flags = u32::from_ne_bytes(value.try_into().ok()?),
            IFA_LOCAL | IFA_ADDRESS | IFA_BROADCAST => kept.push((kind, value.to_vec())),
            _ => {}
        }
    }
    let address = Address {
        family: *family,
        prefix: *prefix,
        attributes: kept,
    };
    (flags & IFA_F_PERMANENT != 0 && *scope == RT_SCOPE_UNIVERSE).then(|| (u32::from_ne_bytes(*index), address))
}

/// Checks, in the container's network namespace, that the new names are free there, and completes those that end in `%d` with the number
/// that the kernel is going to choose: the lowest that is free. Returns the names.
pub(crate) fn choose_names(devices: &[Device]) -> Result<Vec<String>, Fail> {
    let mut chosen: Vec<String> = Vec::with_capacity(devices.len());
    for Device { plan, .. } in devices {
        let is_free = |name: &str| index_of(name).is_err() && !chosen.iter().any(|other| other == name);
        let name = match plan.name.strip_suffix("%d") {
            Some(stem) => (0..MAX_DEVICES)
                .map(|number| format!("{stem}{number}"))
                .find(|name| is_free(name)),
            None => Some(plan.name.clone()).filter(|name| is_free(name)),
        };
        chosen.push(name.ok_or_else(|| {
            let taken = io::Error::from_raw_os_error(libc::EEXIST);
            Fail(format!(
                "move netDevice {} to {}: fail to move network device: {}",
                plan.host,
                plan.name,
                Words(&taken)
            ))
        })?);
    }
    Ok(chosen)
}

/// Moves the devices into the network namespace of process `pid`, under their new names.
///
/// # Errors
/// In runc's words, with the device.
pub(crate) fn move_to(devices: &[Device], pid: i32) -> Result<(), Error> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    let socket = Socket::open().map_err(|error| Error::system("open a netlink socket", error))?;
    for device in devices {
        let host = &device.plan.host;
        let failed = |what: &str, error: &io::Error| {
            Error::Process(format!(
                "move netDevice {host} to namespace {path}: {what}: {}",
                Words(error)
            ))
        };
        let down = socket.act(set_up(device.index, false));
        down.map_err(|error| failed("fail to set link down", &error))?;
        let request = Request::new(RTM_NEWLINK, 0, &link(device.index, 0, 0))
            .attribute(IFLA_IFNAME, &terminated(&device.plan.name))
            .attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let moved = socket.act(request);
        moved.map_err(|error| failed("fail to move network device", &error))?;
    }
    Ok(())
}

/// Gives the devices their addresses back and sets them up: in the container's network namespace, after they have been moved.
/// `names` are those of [`choose_names`].
pub(crate) fn set_addresses(devices: &[Device], names: &[String]) -> Result<(), Fail> {
    let socket = Socket::open().step(|| "open a netlink socket")?;
    for (Device { addresses, .. }, name) in devices.iter().zip(names) {
        let index = index_of(name).step(|| format!("link not found for interface {name} on namespace"))?;
        for address in addresses {
            let [a, b, c, d] = index.to_ne_bytes();
            let body = [address.family, address.prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d];
            let mut request = Request::new(RTM_NEWADDR, NEW, &body);
            for (kind, value) in &address.attributes {
                request = request.attribute(*kind, value);
            }
            socket
                .act(request)
                .step(|| format!("fail to set up an address of {name}"))?;
        }
        socket
            .act(set_up(index, true))
            .step(|| format!("fail to set up interface {name} on namespace"))?;
    }
    Ok(())
}

fn set_up(index: u32, up: bool) -> Request {
    Request::new(RTM_NEWLINK, 0, &link(index, if up { IFF_UP } else { 0 }, IFF_UP))
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    let words = [0, index, flags, change];
    for (to, word) in body.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&u32::to_ne_bytes(word));
    }
    body
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn index_of(name: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(socket, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_addresses_of_global_scope_go_along() {
        let message = |flags: u8, scope: u8, wide: Option<u32>| {
            let mut body = vec![2, 24, flags, scope, 7, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1];
            if let Some(flags) = wide {
                body.extend([8, 0, 8, 0]);
                body.extend(flags.to_ne_bytes());
            }
            body
        };
        let (index, address) = read_address(&message(0x80, 0, None)).unwrap();
        assert_eq!((index, address.family, address.prefix), (7, 2, 24));
        assert_eq!(address.attributes, [(IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert!(read_address(&message(0, 0, Some(0x280))).is_some());
        assert!(read_address(&message(0x80, 253, None)).is_none());
        assert!(read_address(&message(0x80, 0, Some(0))).is_none());
        assert!(read_address(&[1, 2, 3]).is_none());
    }
}
