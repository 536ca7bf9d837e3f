//! Addresses: which subnet a network gets, and which address of it a container.
//!
//! Addresses are given out in order after the last one given (next fit), so that an address which has just been released
//! rests for a whole round: neighbour tables and connections of its former holder have time to end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::addr::Ipv4Net;
use crate::config::PoolConfig;
use crate::error::{Error, Result};
use crate::types::IpamPool;

/// The addresses of one network.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Ipv4Net,
    first: u32,
    last: u32,
    used: BTreeSet<u32>,
    cursor: u32,
}

impl Addresses {
    /// The addresses of a pool whose subnet is known. Gateway and auxiliary addresses count as used.
    pub(crate) fn new(subnet: Ipv4Net, pool: &IpamPool) -> Self {
        let range = pool.ip_range.unwrap_or(subnet);
        // The subnet's own address and its broadcast address are nobody's, but for point-to-point prefixes.
        let edge = u32::from(subnet.prefix() < 31);
        let first = range.first().max(subnet.first() + edge);
        let last = range.last().min(subnet.last() - edge);
        let used = pool
            .gateway
            .iter()
            .chain(pool.auxiliary.values())
            .map(|addr| u32::from(*addr))
            .collect();
        Self {
            subnet: subnet.network(),
            first,
            last,
            used,
            cursor: first,
        }
    }

    pub(crate) fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The next free address.
    pub(crate) fn allocate(&mut self) -> Option<Ipv4Addr> {
        let round = (self.cursor..=self.last).chain(self.first..self.cursor);
        let addr = round.into_iter().find(|addr| !self.used.contains(addr))?;
        self.used.insert(addr);
        self.cursor = if addr >= self.last { self.first } else { addr + 1 };
        Some(Ipv4Addr::from(addr))
    }

    /// Takes this very address, which need not lie in the range but in the subnet.
    pub(crate) fn claim(&mut self, addr: Ipv4Addr) -> Result<()> {
        let number = u32::from(addr);
        if !self.subnet.contains(addr) || (self.subnet.prefix() < 31 && self.is_edge(number)) {
            return Err(Error::AddressOutside(addr));
        }
        if self.used.insert(number) {
            Ok(())
        } else {
            Err(Error::AddressInUse(addr))
        }
    }

    /// As [`Addresses::claim`], for an address that a container has had since before a restart: the next one is sought
    /// after it.
    pub(crate) fn resume(&mut self, addr: Ipv4Addr) {
        let number = u32::from(addr);
        self.used.insert(number);
        if (self.cursor..self.last).contains(&number) {
            self.cursor = number + 1;
        }
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, addr: Ipv4Addr) {
        self.used.remove(&u32::from(addr));
    }

    fn is_edge(&self, number: u32) -> bool {
        number == self.subnet.first() || number == self.subnet.last()
    }
}

/// The first subnet of the pools that meets none of `taken` (other networks' subnets, and subnets the host has routes to).
pub(crate) fn choose_subnet(pools: &[PoolConfig], taken: &[Ipv4Net]) -> Result<Ipv4Net> {
    pools
        .iter()
        .flat_map(|pool| pool.base.network().subnets(pool.size))
        .find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
        .ok_or(Error::NoPool)
}

/// Fills in what a pool leaves open, and checks what it says: the subnet from `choose` when there is none, the gateway as
/// the subnet's first address; range, gateway and auxiliary addresses must lie within.
pub(crate) fn resolve(pool: &IpamPool, choose: impl FnOnce() -> Result<Ipv4Net>) -> Result<(Ipv4Net, IpamPool)> {
    let subnet = match pool.subnet {
        Some(subnet) => subnet.network(),
        None => choose()?,
    };
    if subnet.prefix() > 30 {
        return Err(Error::InvalidSubnet(subnet.to_string()));
    }
    let outside = |what, value: &dyn ToString| Error::OutsideSubnet {
        what,
        value: value.to_string(),
        subnet: subnet.to_string(),
    };
    let within = |addr: Ipv4Addr| subnet.contains(addr) && addr != subnet.addr() && addr != subnet.broadcast();
    if let Some(range) = pool.ip_range.filter(|range| !subnet.covers(*range)) {
        return Err(outside("ip-range", &range));
    }
    let gateway = pool.gateway.unwrap_or_else(|| Ipv4Addr::from(subnet.first() + 1));
    if !within(gateway) {
        return Err(outside("gateway", &gateway));
    }
    if let Some(addr) = pool.auxiliary.values().find(|addr| !within(**addr)) {
        return Err(outside("auxiliary address", addr));
    }
    let pool = IpamPool {
        subnet: Some(subnet),
        gateway: Some(gateway),
        ..pool.clone()
    };
    Ok((subnet, pool))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_pools;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn small() -> Addresses {
        let pool = IpamPool {
            gateway: Some(ip("10.0.0.1")),
            ..IpamPool::default()
        };
        Addresses::new(net("10.0.0.0/29"), &pool)
    }

    #[test]
    fn addresses_go_round_before_they_come_again() {
        let mut addresses = small();
        assert_eq!(addresses.allocate(), Some(ip("10.0.0.2")));
        addresses.release(ip("10.0.0.2"));
        let next: Vec<_> = std::iter::from_fn(|| addresses.allocate())
            .map(|a| a.octets()[3])
            .collect();
        assert_eq!(next, [3, 4, 5, 6, 2]);
        addresses.release(ip("10.0.0.4"));
        assert_eq!(addresses.allocate(), Some(ip("10.0.0.4")));
    }

    #[test]
    fn fixed_addresses_are_checked() {
        let mut addresses = small();
        addresses.claim(ip("10.0.0.5")).unwrap();
        assert!(matches!(addresses.claim(ip("10.0.0.5")), Err(Error::AddressInUse(_))));
        assert!(
            matches!(addresses.claim(ip("10.0.0.1")), Err(Error::AddressInUse(_))),
            "the gateway's"
        );
        for bad in ["10.0.0.0", "10.0.0.7", "10.0.0.8"] {
            assert!(
                matches!(addresses.claim(ip(bad)), Err(Error::AddressOutside(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_range_bounds_what_is_given_out_but_not_what_is_claimed() {
        let pool = IpamPool {
            ip_range: Some(net("10.0.4.0/30")),
            gateway: Some(ip("10.0.0.1")),
            ..IpamPool::default()
        };
        let mut addresses = Addresses::new(net("10.0.0.0/16"), &pool);
        let all: Vec<_> = std::iter::from_fn(|| addresses.allocate())
            .map(|a| a.to_string())
            .collect();
        assert_eq!(all, ["10.0.4.0", "10.0.4.1", "10.0.4.2", "10.0.4.3"]);
        addresses.claim(ip("10.0.9.9")).unwrap();
    }

    #[test]
    fn after_a_restart_the_next_address_follows_those_in_use() {
        let mut addresses = small();
        addresses.resume(ip("10.0.0.3"));
        assert_eq!(addresses.allocate(), Some(ip("10.0.0.4")));
    }

    #[test]
    fn pools_avoid_networks_and_routes() {
        let pools = default_pools();
        assert_eq!(choose_subnet(&pools, &[]).unwrap(), net("172.17.0.0/16"));
        let taken = [net("172.17.0.0/16"), net("172.18.4.0/24"), net("172.16.0.0/30")];
        assert_eq!(choose_subnet(&pools, &taken).unwrap(), net("172.19.0.0/16"));
        assert_eq!(
            choose_subnet(&pools, &[net("172.16.0.0/12")]).unwrap(),
            net("192.168.0.0/20")
        );
        let all = [net("172.16.0.0/12"), net("192.168.0.0/16")];
        assert!(matches!(choose_subnet(&pools, &all), Err(Error::NoPool)));
    }

    #[test]
    fn pools_are_filled_in_and_checked() {
        let (subnet, pool) = resolve(&IpamPool::default(), || Ok(net("172.18.0.0/16"))).unwrap();
        assert_eq!((subnet, pool.gateway), (net("172.18.0.0/16"), Some(ip("172.18.0.1"))));
        let bad = |pool: IpamPool| resolve(&pool, || Err(Error::NoPool)).unwrap_err().to_string();
        let subnet = Some(net("10.0.0.0/24"));
        let gateway = IpamPool {
            subnet,
            gateway: Some(ip("10.0.1.1")),
            ..IpamPool::default()
        };
        assert_eq!(bad(gateway), "invalid gateway 10.0.1.1: not in subnet 10.0.0.0/24");
        let range = IpamPool {
            subnet,
            ip_range: Some(net("10.0.0.0/23")),
            ..IpamPool::default()
        };
        assert!(bad(range).starts_with("invalid ip-range"));
        assert!(
            bad(IpamPool {
                subnet: Some(net("10.0.0.0/31")),
                ..IpamPool::default()
            })
            .contains("10.0.0.0/31")
        );
    }
}
