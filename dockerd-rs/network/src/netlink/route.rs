//! Links, addresses and routes of one network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, State,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::SockProtocol;

use super::socket::Socket;
use crate::addr::{Ipv4Net, MacAddr};
use crate::error::{Error, Result};

/// Links that are about to be deleted. Another daemon of ours may use it too: whose link is in it is dead either way.
const GROUP_OF_THE_DEAD: u32 = 0x6465_6164;

/// Marks bridges that we made.
const ALIAS: &str = "docker-rs";

/// What a dump is asked for again when links change under it.
const DUMP_TRIES: usize = 5;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) is_bridge: bool,
    /// Index of the bridge it is a port of; 0 for none.
    pub(crate) master: u32,
    /// Carries packets: both ends are up and the kernel has taken notice of it.
    pub(crate) running: bool,
    alias: String,
}

impl Link {
    /// Whether a daemon of ours made it, be it one whose state is lost.
    pub(crate) fn is_ours(&self) -> bool {
        self.alias == ALIAS
    }
}

/// A pair of virtual Ethernet links, one end a port of a bridge, the other in a container.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_netns: BorrowedFd<'a>,
    pub(crate) peer_mac: MacAddr,
    /// Bytes; 0 is the kernel's default.
    pub(crate) mtu: u32,
}

/// Routing netlink in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Route {
    socket: Socket,
}

impl Route {
    pub(crate) fn open() -> Result<Self> {
        let socket =
            Socket::open(SockProtocol::NetlinkRoute).map_err(|e| failed("open a routing netlink socket", e))?;
        Ok(Self { socket })
    }

    /// Brings `lo` up: always the first link of a namespace.
    pub(crate) fn loopback_up(&mut self) -> Result<()> {
        self.link_up(1, "lo")
    }

    /// Brings a link up.
    pub(crate) fn link_up(&mut self, index: u32, name: &str) -> Result<()> {
        self.change(
            format!("bring link {name} up"),
            0,
            RouteNetlinkMessage::SetLink(up(index)),
        )
    }

    /// Makes a bridge with a hardware address of its own, so that it does not change with its ports, and marks it as ours.
    pub(crate) fn create_bridge(&mut self, name: &str, mac: MacAddr, mtu: u32) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        if mtu > 0 {
            link.attributes.push(LinkAttribute::Mtu(mtu));
        }
        link.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.change(
            format!("create bridge {name}"),
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewLink(link),
        )?;
        let mut mark = LinkMessage::default();
        mark.attributes.push(LinkAttribute::IfName(name.to_owned()));
        mark.attributes.push(LinkAttribute::IfAlias(ALIAS.to_owned()));
        self.change(format!("mark bridge {name}"), 0, RouteNetlinkMessage::SetLink(mark))
    }

    /// Makes a pair in one request: the host's end up and a port of its bridge, the peer at once in the other namespace.
    /// Either both ends come to be or none.
    pub(crate) fn create_veth(&mut self, pair: &VethPair<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(pair.peer_name.to_owned()));
        peer.attributes.push(LinkAttribute::Address(pair.peer_mac.0.to_vec()));
        peer.attributes
            .push(LinkAttribute::NetNsFd(pair.peer_netns.as_raw_fd()));
        let mut link = up(0);
        link.attributes.push(LinkAttribute::IfName(pair.host_name.to_owned()));
        link.attributes.push(LinkAttribute::Controller(pair.bridge));
        if pair.mtu > 0 {
            peer.attributes.push(LinkAttribute::Mtu(pair.mtu));
            link.attributes.push(LinkAttribute::Mtu(pair.mtu));
        }
        let data = InfoData::Veth(InfoVeth::Peer(peer));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(data),
        ]));
        let what = format!("create link {}", pair.host_name);
        self.change(what, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(link))
    }

    /// Sets how a bridge treats one of its ports. `hairpin`: a frame may go back out where it came in, for a container that
    /// reaches itself by a published port. `isolated`: no frame goes to another isolated port.
    pub(crate) fn set_bridge_port(&mut self, name: &str, hairpin: bool, isolated: bool) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let port = vec![InfoBridgePort::HairpinMode(hairpin), InfoBridgePort::Isolated(isolated)];
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(port)),
        ]));
        self.change(format!("set bridge port {name}"), 0, RouteNetlinkMessage::NewLink(link))
    }

    /// Takes a link away, and its peer with it. False when there was none.
    pub(crate) fn delete_link(&mut self, name: &str) -> Result<bool> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.change(format!("delete link {name}"), 0, RouteNetlinkMessage::DelLink(link)) {
            Ok(()) => Ok(true),
            Err(e) if e.is_errno(libc::ENODEV) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes many links away, with their peers. Each deletion waits for several grace periods of RCU (30 ms and more), but all
    /// links of a group are deleted in one: so they are put into a group first, one that nobody else uses.
    pub(crate) fn delete_links(&mut self, names: &[&str]) -> Result<()> {
        let absent = |result: Result<()>| match result {
            Err(e) if e.is_errno(libc::ENODEV) => Ok(()),
            other => other,
        };
        for name in names {
            let mut link = LinkMessage::default();
            link.attributes.push(LinkAttribute::IfName((*name).to_owned()));
            link.attributes.push(LinkAttribute::Group(GROUP_OF_THE_DEAD));
            absent(self.change(format!("doom link {name}"), 0, RouteNetlinkMessage::SetLink(link)))?;
        }
        let mut group = LinkMessage::default();
        group.attributes.push(LinkAttribute::Group(GROUP_OF_THE_DEAD));
        absent(self.change("delete doomed links".to_owned(), 0, RouteNetlinkMessage::DelLink(group)))
    }

    /// The link of that name.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let sequence = self.socket.next_sequence();
        let bytes = encode(sequence, NLM_F_REQUEST, RouteNetlinkMessage::GetLink(ask));
        let socket = &mut self.socket;
        let answer = socket
            .send(&bytes)
            .and_then(|()| socket.answer(sequence, |frame| decode(frame.kind, frame.payload)));
        match answer {
            Ok(RouteNetlinkMessage::NewLink(link)) => Ok(Some(read_link(&link))),
            Ok(_) => Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(failed(format!("look up link {name}"), e)),
        }
    }

    /// All links.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>> {
        let ask = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("list links", &ask, |answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(read_link(link)),
            _ => None,
        })
    }

    /// Gives a link an address.
    pub(crate) fn add_address(&mut self, index: u32, name: &str, net: Ipv4Net) -> Result<()> {
        let mut address = AddressMessage::default();
        address.header.family = AddressFamily::Inet;
        address.header.prefix_len = net.prefix();
        address.header.scope = AddressScope::Universe;
        address.header.index = index;
        address.attributes.push(AddressAttribute::Local(IpAddr::V4(net.addr())));
        address
            .attributes
            .push(AddressAttribute::Address(IpAddr::V4(net.addr())));
        if net.prefix() < 31 {
            address.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        let what = format!("add address {net} to {name}");
        self.change(
            what,
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewAddress(address),
        )
    }

    /// The IPv4 addresses of a link.
    pub(crate) fn addresses(&mut self, index: u32) -> Result<Vec<Ipv4Net>> {
        let mut ask = AddressMessage::default();
        ask.header.family = AddressFamily::Inet;
        self.dump(
            "list addresses",
            &RouteNetlinkMessage::GetAddress(ask),
            |answer| match answer {
                RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                    message.attributes.iter().find_map(|attribute| match attribute {
                        AddressAttribute::Local(IpAddr::V4(addr)) => {
                            Ipv4Net::new(*addr, message.header.prefix_len).ok()
                        }
                        _ => None,
                    })
                }
                _ => None,
            },
        )
    }

    /// Sends everything without a route of its own through `gateway`.
    pub(crate) fn add_default_route(&mut self, gateway: Ipv4Addr) -> Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Boot;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        route
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        let what = format!("add default route through {gateway}");
        self.change(what, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(route))
    }

    /// The IPv4 subnets that the namespace has routes to, the default route left out.
    pub(crate) fn routed_subnets(&mut self) -> Result<Vec<Ipv4Net>> {
        let mut ask = RouteMessage::default();
        ask.header.address_family = AddressFamily::Inet;
        self.dump(
            "list routes",
            &RouteNetlinkMessage::GetRoute(ask),
            |answer| match answer {
                RouteNetlinkMessage::NewRoute(route)
                    if route.header.table == RouteHeader::RT_TABLE_MAIN
                        && route.header.destination_prefix_length > 0 =>
                {
                    route.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                            Ipv4Net::new(*to, route.header.destination_prefix_length).ok()
                        }
                        _ => None,
                    })
                }
                _ => None,
            },
        )
    }

    fn change(&mut self, what: String, flags: u16, payload: RouteNetlinkMessage) -> Result<()> {
        let sequence = self.socket.next_sequence();
        let bytes = encode(sequence, NLM_F_REQUEST | NLM_F_ACK | flags, payload);
        self.socket
            .send(&bytes)
            .and_then(|()| self.socket.acknowledged(sequence))
            .map_err(|e| failed(what, e))
    }

    fn dump<T>(
        &mut self,
        what: &str,
        ask: &RouteNetlinkMessage,
        mut pick: impl FnMut(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            let sequence = self.socket.next_sequence();
            let bytes = encode(sequence, NLM_F_REQUEST | NLM_F_DUMP, ask.clone());
            let mut found = Vec::new();
            let read = self.socket.send(&bytes).and_then(|()| {
                self.socket.dump(sequence, |frame| {
                    found.extend(pick(&decode(frame.kind, frame.payload)?));
                    Ok(())
                })
            });
            match read {
                Ok(()) => return Ok(found),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(what, e)),
            }
        }
        Err(failed(what, io::ErrorKind::Interrupted.into()))
    }
}

fn failed(what: impl Into<String>, source: io::Error) -> Error {
    Error::Netlink {
        what: what.into(),
        source,
    }
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

fn encode(sequence: u32, flags: u16, payload: RouteNetlinkMessage) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(payload));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn decode(kind: u16, payload: &[u8]) -> io::Result<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    RouteNetlinkMessage::deserialize(&header, payload).map_err(io::Error::other)
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        is_bridge: false,
        master: 0,
        running: false,
        alias: String::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::OperState(state) => link.running = *state == State::Up,
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Controller(index) => link.master = *index,
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos
                    .iter()
                    .any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)));
            }
            _ => {}
        }
    }
    link
}
