//! What other tables of the host do to forwarded packets. We leave them alone; but an administrator should hear why his
//! containers have no network.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::error::{Error, Result};
use crate::netlink::nfnetlink::{SUBSYSTEM, put};
use crate::netlink::nla::{Attrs, find};
use crate::netlink::socket::Socket;

/// `NFT_MSG_GETCHAIN`.
const GET_CHAINS: u16 = 4;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 1 | 0x300;
/// `NFPROTO_INET` and `NFPROTO_IPV4`.
const FAMILIES: [(u8, &str); 2] = [(1, "inet"), (2, "ip")];
/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

/// Chains that drop forwarded packets unless one of their rules accepts them, as `TABLE's chain CHAIN`. Ours has no such policy.
/// Rules of the legacy iptables are not seen.
pub(crate) fn dropping_chains() -> Result<Vec<String>> {
    dump().map_err(|source| Error::Firewall {
        what: "list chains".to_owned(),
        source,
    })
}

fn dump() -> io::Result<Vec<String>> {
    let mut socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
    let sequence = socket.next_sequence();
    let mut bytes = Vec::new();
    put(
        &mut bytes,
        (SUBSYSTEM << 8) | GET_CHAINS,
        REQUEST_DUMP,
        sequence,
        0,
        0,
        &Attrs::new(),
    );
    socket.send(&bytes)?;
    let mut found = Vec::new();
    let dumped = socket.dump(sequence, |frame| {
        found.extend(read(frame.payload));
        Ok(())
    });
    match dumped {
        // Somebody is changing chains: what was seen is good enough.
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(found),
    }
}

fn read(payload: &[u8]) -> Option<String> {
    let (family, attrs) = payload.split_at_checked(4)?;
    let (_, family) = FAMILIES.iter().find(|(number, _)| Some(number) == family.first())?;
    let hook = number(find(find(attrs, 4)?, 1)?)?;
    let policy = number(find(attrs, 5)?)?;
    let text = |kind| find(attrs, kind).map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    (hook == FORWARD && policy == 0).then(|| Some(format!("table {family} {} chain {}", text(1)?, text(3)?)))?
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
