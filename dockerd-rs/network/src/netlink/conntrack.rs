//! The kernel's table of connections, as far as published UDP ports need it.
//!
//! A UDP "connection" is only a memory of the kernel that addresses talk to each other, kept alive by each packet. A client
//! that goes on sending to a port of the host keeps the memory of where its packets went before: to nobody while the port was
//! not published, to a container that is gone. Whoever publishes or withdraws a UDP port has to clear that memory.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use super::nfnetlink::{FAMILY, Kept, put};
use super::nla::{Attrs, find};
use super::socket::Socket;
use crate::error::{Error, Result};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const UDP: u8 = 17;

/// Which connections to forget: UDP ones to one of these ports of the host, or answered by one of these containers. To find
/// them the kernel goes through its whole table, some milliseconds even when it is empty; several are looked for at once.
#[derive(Debug, Default)]
pub(crate) struct Forget {
    pub(crate) host_ports: BTreeSet<u16>,
    pub(crate) containers: BTreeSet<Ipv4Addr>,
}

impl Forget {
    /// Looks for what `other` looks for, too.
    pub(crate) fn merge(&mut self, other: Self) {
        self.host_ports.extend(other.host_ports);
        self.containers.extend(other.containers);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.host_ports.is_empty()
    }

    fn wants(&self, entry: &[u8]) -> bool {
        let original = find(entry, TUPLE_ORIGINAL).and_then(Tuple::read);
        let reply = find(entry, TUPLE_REPLY).and_then(Tuple::read);
        let (Some(original), Some(reply)) = (original, reply) else {
            return false;
        };
        original.protocol == UDP
            && (self.host_ports.contains(&original.to_port) || self.containers.contains(&Ipv4Addr::from(reply.from)))
    }
}

struct Tuple {
    from: [u8; 4],
    protocol: u8,
    to_port: u16,
}

impl Tuple {
    fn read(tuple: &[u8]) -> Option<Self> {
        let (ip, protocol) = (find(tuple, TUPLE_IP)?, find(tuple, TUPLE_PROTOCOL)?);
        Some(Self {
            from: find(ip, 1)?.try_into().ok()?,
            protocol: *find(protocol, 1)?.first()?,
            to_port: u16::from_be_bytes(find(protocol, 3)?.try_into().ok()?),
        })
    }
}

/// Forgets connections. One that ends by itself meanwhile is no error.
pub(crate) fn forget(socket: &mut Kept, what: &Forget) -> Result<()> {
    socket
        .with(|socket| forget_all(socket, what))
        .map_err(|source| Error::Netlink {
            what: "clear UDP connections".to_owned(),
            source,
        })
}

fn forget_all(socket: &mut Socket, what: &Forget) -> io::Result<()> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let sequence = request(socket, GET, NLM_F_DUMP, &Attrs::new())?;
    let dumped = socket.dump(sequence, |frame| {
        let entry = frame.payload.get(4..).unwrap_or_default();
        if what.wants(entry) {
            found.extend(find(entry, TUPLE_ORIGINAL).map(<[u8]>::to_vec));
        }
        Ok(())
    });
    match dumped {
        // The table changes all the time: what was seen is good enough.
        Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
        _ => {}
    }
    for tuple in found {
        let sequence = request(
            socket,
            DELETE,
            NLM_F_ACK,
            &Attrs::new().bytes(TUPLE_ORIGINAL | 0x8000, &tuple),
        )?;
        match socket.acknowledged(sequence) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn request(socket: &mut Socket, kind: u16, flags: u16, attrs: &Attrs) -> io::Result<u32> {
    let sequence = socket.next_sequence();
    let mut bytes = Vec::new();
    put(
        &mut bytes,
        (SUBSYSTEM << 8) | kind,
        NLM_F_REQUEST | flags,
        sequence,
        FAMILY,
        0,
        attrs,
    );
    socket.send(&bytes)?;
    Ok(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(protocol: u8, to_port: u16, answered_by: [u8; 4]) -> Vec<u8> {
        let tuple = |from: [u8; 4], port: u16| {
            let ip = Attrs::new().bytes(1, &from).bytes(2, &[10, 0, 0, 1]);
            let proto = Attrs::new()
                .bytes(1, &[protocol])
                .bytes(2, &[0, 9])
                .bytes(3, &port.to_be_bytes());
            Attrs::new().nest(TUPLE_IP, ip).nest(TUPLE_PROTOCOL, proto)
        };
        let attrs = Attrs::new().nest(TUPLE_ORIGINAL, tuple([192, 0, 2, 7], to_port));
        attrs.nest(TUPLE_REPLY, tuple(answered_by, 9)).as_bytes().to_vec()
    }

    #[test]
    fn only_udp_of_the_port_or_the_container_is_forgotten() {
        let container_ip = Ipv4Addr::new(172, 17, 0, 2);
        let forget = Forget {
            host_ports: BTreeSet::from([53]),
            containers: BTreeSet::from([container_ip]),
        };
        assert!(forget.wants(&entry(17, 53, [10, 0, 0, 1])));
        assert!(forget.wants(&entry(17, 99, [172, 17, 0, 2])));
        assert!(!forget.wants(&entry(6, 53, [172, 17, 0, 2])));
        assert!(!forget.wants(&entry(17, 99, [172, 17, 0, 3])));
        assert!(!forget.wants(&[8, 0, 1, 0]));
    }
}
