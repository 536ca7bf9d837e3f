//! IPv4 prefixes and hardware addresses, as Docker's API writes them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// An IPv4 address with the length of its prefix: `172.17.0.2/16`. The host bits are kept, so the same type says "this
/// subnet" and "this address in its subnet"; [`Ipv4Net::network`] clears them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Net {
    addr: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// `127.0.0.0/8`, the host's own addresses.
    pub const LOOPBACK: Self = Self {
        addr: Ipv4Addr::new(127, 0, 0, 0),
        prefix: 8,
    };

    /// `addr/prefix`; a prefix over 32 is an [`Error::InvalidSubnet`].
    pub fn new(addr: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        if prefix > 32 {
            return Err(Error::InvalidSubnet(format!("{addr}/{prefix}")));
        }
        Ok(Self { addr, prefix })
    }

    /// The address, host bits included.
    pub fn addr(self) -> Ipv4Addr {
        self.addr
    }

    /// Length of the prefix in bits, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The mask as a number: `/16` is `0xffff_0000`.
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The subnet: the same prefix with the host bits cleared.
    pub fn network(self) -> Self {
        Self {
            addr: Ipv4Addr::from(u32::from(self.addr) & self.mask()),
            prefix: self.prefix,
        }
    }

    /// First number of the subnet (the network's own address).
    pub fn first(self) -> u32 {
        u32::from(self.addr) & self.mask()
    }

    /// Last number of the subnet (its broadcast address).
    pub fn last(self) -> u32 {
        self.first() | !self.mask()
    }

    /// The broadcast address of the subnet.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.last())
    }

    /// Whether `addr` lies in the subnet.
    pub fn contains(self, addr: Ipv4Addr) -> bool {
        u32::from(addr) & self.mask() == self.first()
    }

    /// Whether `other` lies wholly in this subnet.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.addr)
    }

    /// Whether the two subnets share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The subnets of length `prefix` in this one, in order. None when `prefix` is shorter than this one's.
    pub fn subnets(self, prefix: u8) -> impl Iterator<Item = Self> {
        let fits = prefix >= self.prefix && prefix <= 32;
        let count = if fits { 1_u64 << (prefix - self.prefix) } else { 0 };
        let first = u64::from(self.first());
        (0..count).filter_map(move |n| {
            let addr = u32::try_from(first + (n << (32 - u32::from(prefix)))).ok()?;
            Some(Self {
                addr: Ipv4Addr::from(addr),
                prefix,
            })
        })
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl fmt::Debug for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv4Net {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidSubnet(text.to_owned());
        let (addr, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let addr = addr.parse().map_err(|_| invalid())?;
        let prefix = prefix.parse().map_err(|_| invalid())?;
        Self::new(addr, prefix)
    }
}

impl Serialize for Ipv4Net {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ipv4Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A hardware address, written `02:42:ac:11:00:02`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address Docker derives from an IPv4 address: `02:42` and the four octets. It is unique on a network for as long
    /// as the address is, so nobody's neighbour table is wrong when an address comes to another container.
    pub fn from_ipv4(addr: Ipv4Addr) -> Self {
        let [a, b, c, d] = addr.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidMac(text.to_owned());
        let mut octets = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || octets[0] & 1 == 1 {
            Err(invalid())
        } else {
            Ok(Self(octets))
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_know_their_bounds() {
        let docker0 = net("172.17.0.1/16");
        assert_eq!(docker0.network(), net("172.17.0.0/16"));
        assert_eq!(docker0.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        assert!(docker0.contains(Ipv4Addr::new(172, 17, 200, 9)));
        assert!(!docker0.contains(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(net("0.0.0.0/0").last(), u32::MAX);
        assert_eq!(net("10.1.2.3/32").first(), net("10.1.2.3/32").last());
    }

    #[test]
    fn overlap_is_symmetric() {
        let (wide, narrow, other) = (net("10.0.0.0/8"), net("10.9.0.0/24"), net("11.0.0.0/8"));
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(!wide.overlaps(other) && !other.overlaps(narrow));
    }

    #[test]
    fn subnets_are_cut_in_order() {
        let cut: Vec<_> = net("172.20.0.0/14").subnets(16).map(|n| n.to_string()).collect();
        assert_eq!(
            cut,
            ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]
        );
        assert_eq!(net("10.0.0.0/16").subnets(8).count(), 0);
        assert_eq!(net("0.0.0.0/0").subnets(32).take(2).count(), 2);
    }

    #[test]
    fn bad_text_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "10.0.0/8",
            "10.0.0.0/-1",
            "::1/64",
        ] {
            assert!(text.parse::<Ipv4Net>().is_err(), "{text}");
        }
        for text in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "zz:42:ac:11:00:02",
            "01:42:ac:11:00:02",
            "2:42:ac:11:0:2",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn macs_follow_the_address() {
        let mac = MacAddr::from_ipv4(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!("02-42-AC-11-00-02".parse::<MacAddr>().unwrap(), mac);
    }
}
