//! From a [`Ruleset`] to the table's sets, chains and rules: pure.
//!
//! ```text
//! raw-prerouting   from one of our bridges, to or from 127/8: drop           (route_localnet is on there)
//! prerouting, output   to an address of the host: look the port up in the maps, new destination
//! postrouting      out of a bridge, or to itself by a published port, or from the host's loopback: masquerade
//! forward          to a bridge: what belongs to a connection, same bridge, published; else drop
//!                  from a bridge: everything, nothing when internal
//!                  [guard] neither: only what a bridge of somebody has to do with
//! ```
//!
//! A container costs elements of sets, never rules: three per published port. Rules grow with the bridges alone.

use std::collections::BTreeSet;

use super::expr::{
    Ct, Expr, Field, Meta, NAME_SIZE, Reg, Verdict, address_in, address_not_in, address_word, ct_has, name_bytes,
    name_in, name_is, name_is_not, port_word, protocol_word,
};
use super::{Publication, Ruleset};
use crate::addr::Ipv4Net;

/// Names of bridges.
pub(crate) const BRIDGES: &str = "bridges";
/// Names of bridges nothing leaves.
pub(crate) const INTERNAL: &str = "internal";
/// Pairs of bridges that may talk: each with itself.
pub(crate) const TALKING: &str = "talking";
/// Container address, protocol, port: may be reached.
pub(crate) const PUBLISHED: &str = "published";
/// Protocol, host port -> container address, port: on every address of the host.
pub(crate) const PORTS: &str = "ports";
/// Host address, protocol, host port -> container address, port.
pub(crate) const PORTS_BY_ADDRESS: &str = "ports-by-address";

const DNAT: &str = "dnat";
const TO_BRIDGE: &str = "to-bridge";
const FROM_BRIDGE: &str = "from-bridge";

/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 1 << 5;
/// Established and related.
const STATE_KNOWN: u32 = 2 | 4;

/// nft's own numbers for types, so that `nft list` shows elements readably.
mod datatype {
    pub(super) const ADDRESS: u32 = 7;
    pub(super) const PROTOCOL: u32 = 12;
    pub(super) const PORT: u32 = 13;
    pub(super) const NAME: u32 = 41;

    /// A concatenation, six bits for each part.
    pub(super) fn concat(parts: &[u32]) -> u32 {
        parts.iter().fold(0, |all, part| (all << 6) | part)
    }
}

/// A set, or a map when it has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key_type: u32,
    pub(crate) key_len: usize,
    /// Type and length of the values.
    pub(crate) data: Option<(u32, usize)>,
    /// The key is in the machine's byte order: a hint for `nft list`, the kernel does not care.
    pub(crate) host_order: bool,
}

/// An element: key, and value in a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// A chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Vec<Expr>>,
}

/// The whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) sets: Vec<Set>,
    pub(crate) elements: Vec<(&'static str, BTreeSet<Element>)>,
    pub(crate) chains: Vec<Chain>,
}

/// The table for a ruleset.
pub(crate) fn table(rules: &Ruleset) -> Table {
    let mut elements = vec![
        (
            BRIDGES,
            rules.bridges.keys().map(|name| key(name_bytes(name))).collect(),
        ),
        (
            INTERNAL,
            names(rules, |bridge| bridge.internal)
                .map(|name| key(name_bytes(name)))
                .collect(),
        ),
        (
            TALKING,
            names(rules, |bridge| bridge.icc)
                .map(|name| key(name_bytes(name).repeat(2)))
                .collect(),
        ),
    ];
    elements.extend(port_elements(rules.ports.iter()));
    let mut chains = vec![
        chain(DNAT, dnat()),
        chain(TO_BRIDGE, to_bridge()),
        chain(FROM_BRIDGE, from_bridge()),
    ];
    // Chains that are jumped to come first: a rule can only name a chain that is there.
    chains.extend([
        hooked("raw-prerouting", "filter", 0, -300, raw_prerouting()),
        hooked("prerouting", "nat", 0, -100, prerouting()),
        hooked(
            "output",
            "nat",
            3,
            -100,
            vec![rule([vec![Expr::ToLocal(Reg(0)), is_local()], jump(DNAT)])],
        ),
        hooked("postrouting", "nat", 4, 100, postrouting(rules)),
        hooked("forward", "filter", 2, 0, forward(rules.guard)),
    ]);
    Table {
        sets: sets(),
        elements,
        chains,
    }
}

/// The elements of published ports, by set.
pub(crate) fn port_elements<'a>(
    ports: impl Iterator<Item = &'a Publication> + Clone,
) -> Vec<(&'static str, BTreeSet<Element>)> {
    let anywhere = |port: &&Publication| port.host_ip.is_unspecified();
    let target = |port: &Publication| Some([address_word(port.container_ip), port_word(port.container_port)].concat());
    let host = |port: &Publication| [protocol_word(port.protocol.number()), port_word(port.host_port)].concat();
    let reached = |port: &Publication| {
        let proto = protocol_word(port.protocol.number());
        [address_word(port.container_ip), proto, port_word(port.container_port)].concat()
    };
    let by_address = |port: &Publication| [address_word(port.host_ip).to_vec(), host(port)].concat();
    let element = |key, data| Element { key, data };
    vec![
        (
            PUBLISHED,
            ports.clone().map(|port| element(reached(port), None)).collect(),
        ),
        (
            PORTS,
            ports
                .clone()
                .filter(anywhere)
                .map(|port| element(host(port), target(port)))
                .collect(),
        ),
        (
            PORTS_BY_ADDRESS,
            ports
                .filter(|port| !anywhere(port))
                .map(|port| element(by_address(port), target(port)))
                .collect(),
        ),
    ]
}

fn sets() -> Vec<Set> {
    use datatype::{ADDRESS, NAME, PORT, PROTOCOL, concat};
    let set = |name, parts: &[u32], key_len| Set {
        name,
        key_type: concat(parts),
        key_len,
        data: None,
        host_order: parts == [NAME],
    };
    let target = Some((concat(&[ADDRESS, PORT]), 8));
    vec![
        set(BRIDGES, &[NAME], NAME_SIZE),
        set(INTERNAL, &[NAME], NAME_SIZE),
        set(TALKING, &[NAME, NAME], 2 * NAME_SIZE),
        set(PUBLISHED, &[ADDRESS, PROTOCOL, PORT], 12),
        Set {
            data: target,
            ..set(PORTS, &[PROTOCOL, PORT], 8)
        },
        Set {
            data: target,
            ..set(PORTS_BY_ADDRESS, &[ADDRESS, PROTOCOL, PORT], 12)
        },
    ]
}

fn raw_prerouting() -> Vec<Vec<Expr>> {
    [Field::DestinationAddress, Field::SourceAddress]
        .map(|field| {
            rule([
                name_in(Meta::IifName, BRIDGES),
                address_in(field, Ipv4Net::LOOPBACK),
                verdict(Verdict::Drop),
            ])
        })
        .to_vec()
}

/// A packet from outside to 127/8 is never sent on, even where somebody switched `route_localnet` on for all links: ports
/// published on the loopback address are the host's own.
fn prerouting() -> Vec<Vec<Expr>> {
    vec![rule([
        vec![Expr::ToLocal(Reg(0)), is_local()],
        address_not_in(Field::DestinationAddress, Ipv4Net::LOOPBACK),
        jump(DNAT),
    ])]
}

fn dnat() -> Vec<Vec<Expr>> {
    let (protocol, port) = (Meta::L4Proto, Field::DestinationPort);
    vec![
        vec![
            Expr::Payload(Field::DestinationAddress, Reg(0)),
            Expr::Meta(protocol, Reg(1)),
            Expr::Payload(port, Reg(2)),
            Expr::InMap(PORTS_BY_ADDRESS, Reg(0), Reg(4)),
            Expr::Dnat(Reg(4), Reg(5)),
        ],
        vec![
            Expr::Meta(protocol, Reg(0)),
            Expr::Payload(port, Reg(1)),
            Expr::InMap(PORTS, Reg(0), Reg(4)),
            Expr::Dnat(Reg(4), Reg(5)),
        ],
    ]
}

fn postrouting(rules: &Ruleset) -> Vec<Vec<Expr>> {
    let mut out = vec![rule([
        name_in(Meta::OifName, BRIDGES),
        address_in(Field::SourceAddress, Ipv4Net::LOOPBACK),
        vec![Expr::Masquerade],
    ])];
    for (name, bridge) in &rules.bridges {
        let from_bridge = address_in(Field::SourceAddress, bridge.subnet);
        if bridge.masquerade && !bridge.internal {
            out.push(rule([
                from_bridge.clone(),
                name_is_not(Meta::OifName, name),
                vec![Expr::Masquerade],
            ]));
        }
        // A container that reached its own bridge by a published port: the answer must come back through the host.
        out.push(rule([
            from_bridge,
            name_is(Meta::OifName, name),
            ct_has(Ct::Status, STATUS_DNAT),
            vec![Expr::Masquerade],
        ]));
    }
    out
}

fn forward(guard: bool) -> Vec<Vec<Expr>> {
    let mut out = vec![
        rule([name_in(Meta::OifName, BRIDGES), jump(TO_BRIDGE)]),
        rule([name_in(Meta::IifName, BRIDGES), jump(FROM_BRIDGE)]),
    ];
    if guard {
        out.push(rule([name_is(Meta::IifKind, "bridge"), verdict(Verdict::Accept)]));
        out.push(rule([name_is(Meta::OifKind, "bridge"), verdict(Verdict::Accept)]));
        out.push(verdict(Verdict::Drop));
    }
    out
}

fn to_bridge() -> Vec<Vec<Expr>> {
    let published = vec![
        Expr::Payload(Field::DestinationAddress, Reg(0)),
        Expr::Meta(Meta::L4Proto, Reg(1)),
        Expr::Payload(Field::DestinationPort, Reg(2)),
        Expr::InSet(PUBLISHED, Reg(0)),
    ];
    let same_bridge = vec![
        Expr::Meta(Meta::IifName, Reg(0)),
        Expr::Meta(Meta::OifName, Reg(4)),
        Expr::InSet(TALKING, Reg(0)),
    ];
    vec![
        rule([ct_has(Ct::State, STATE_KNOWN), verdict(Verdict::Accept)]),
        rule([same_bridge, verdict(Verdict::Accept)]),
        rule([ct_has(Ct::Status, STATUS_DNAT), published, verdict(Verdict::Accept)]),
        verdict(Verdict::Drop),
    ]
}

fn from_bridge() -> Vec<Vec<Expr>> {
    vec![
        rule([ct_has(Ct::State, STATE_KNOWN), verdict(Verdict::Accept)]),
        rule([name_in(Meta::IifName, INTERNAL), verdict(Verdict::Drop)]),
        verdict(Verdict::Accept),
    ]
}

fn names(rules: &Ruleset, pick: impl Fn(&super::BridgeRules) -> bool) -> impl Iterator<Item = &String> {
    rules
        .bridges
        .iter()
        .filter(move |(_, bridge)| pick(bridge))
        .map(|(name, _)| name)
}

fn key(key: Vec<u8>) -> Element {
    Element { key, data: None }
}

fn chain(name: &'static str, rules: Vec<Vec<Expr>>) -> Chain {
    Chain {
        name,
        hook: None,
        rules,
    }
}

fn hooked(name: &'static str, kind: &'static str, number: u32, priority: i32, rules: Vec<Vec<Expr>>) -> Chain {
    Chain {
        name,
        hook: Some(Hook { kind, number, priority }),
        rules,
    }
}

fn rule<const N: usize>(parts: [Vec<Expr>; N]) -> Vec<Expr> {
    parts.concat()
}

fn verdict(verdict: Verdict) -> Vec<Expr> {
    vec![Expr::Verdict(verdict)]
}

fn jump(chain: &'static str) -> Vec<Expr> {
    verdict(Verdict::Jump(chain))
}

/// `RTN_LOCAL`.
fn is_local() -> Expr {
    Expr::Equal(Reg(0), 2_u32.to_ne_bytes().to_vec())
}

#[cfg(test)]
mod tests;
