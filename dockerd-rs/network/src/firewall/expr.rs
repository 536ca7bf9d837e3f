//! The few nftables expressions our rules are made of, and their encoding (`linux/netfilter/nf_tables.h`).
//!
//! A rule is a list of expressions that load into registers, compare, look up and end in a verdict. Registers are numbered
//! as 32-bit words here; a concatenation is simply several loads side by side.

use std::net::Ipv4Addr;

use crate::addr::Ipv4Net;
use crate::netlink::nla::Attrs;

/// `IFNAMSIZ`: a name is compared as 16 bytes, padded with zeros.
pub(crate) const NAME_SIZE: usize = 16;
/// `NFT_REG32_00`, the first of the sixteen 32-bit registers.
const FIRST_REGISTER: u32 = 8;
/// `NFTA_LIST_ELEM`.
pub(crate) const LIST_ELEM: u16 = 1;

/// A 32-bit register, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u32);

impl Reg {
    fn number(self) -> u32 {
        FIRST_REGISTER + self.0
    }
}

/// What `meta` loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    IifName,
    OifName,
    L4Proto,
    IifKind,
    OifKind,
}

/// A field of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    SourceAddress,
    DestinationAddress,
    DestinationPort,
}

/// What `ct` loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ct {
    State,
    Status,
}

/// How a rule ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Jump(&'static str),
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Meta(Meta, Reg),
    Payload(Field, Reg),
    Ct(Ct, Reg),
    /// Keeps only the bits of the mask.
    Mask(Reg, [u8; 4]),
    Equal(Reg, Vec<u8>),
    NotEqual(Reg, Vec<u8>),
    /// Goes on when the set holds the key.
    InSet(&'static str, Reg),
    /// Goes on when the map holds the key, with the value in the second register.
    InMap(&'static str, Reg, Reg),
    /// Goes on when the destination is an address of the host.
    ToLocal(Reg),
    /// New destination: address in the first register, port in the second.
    Dnat(Reg, Reg),
    Masquerade,
    Verdict(Verdict),
}

impl Expr {
    pub(crate) fn encode(&self) -> Attrs {
        let attrs = Attrs::new();
        let (name, data) = match self {
            Self::Meta(key, reg) => ("meta", attrs.be32(1, reg.number()).be32(2, meta_key(*key))),
            Self::Payload(field, reg) => ("payload", payload(*field, *reg)),
            Self::Ct(key, reg) => ("ct", attrs.be32(1, reg.number()).be32(2, ct_key(*key))),
            Self::Mask(reg, mask) => ("bitwise", bitwise(*reg, *mask)),
            Self::Equal(reg, value) => ("cmp", compare(*reg, 0, value)),
            Self::NotEqual(reg, value) => ("cmp", compare(*reg, 1, value)),
            Self::InSet(set, key) => ("lookup", attrs.text(1, set).be32(2, key.number())),
            Self::InMap(map, key, value) => (
                "lookup",
                attrs.text(1, map).be32(2, key.number()).be32(3, value.number()),
            ),
            // NFT_FIB_RESULT_ADDRTYPE by NFTA_FIB_F_DADDR.
            Self::ToLocal(reg) => ("fib", attrs.be32(1, reg.number()).be32(2, 3).be32(3, 2)),
            // NFT_NAT_DNAT, family NFPROTO_IPV4.
            Self::Dnat(addr, port) => (
                "nat",
                attrs
                    .be32(1, 1)
                    .be32(2, 2)
                    .be32(3, addr.number())
                    .be32(5, port.number()),
            ),
            Self::Masquerade => ("masq", attrs),
            Self::Verdict(verdict) => ("immediate", attrs.be32(1, 0).nest(2, encode_verdict(verdict))),
        };
        Attrs::new().text(1, name).nest(2, data)
    }
}

fn meta_key(key: Meta) -> u32 {
    match key {
        Meta::IifName => 6,
        Meta::OifName => 7,
        Meta::L4Proto => 16,
        Meta::IifKind => 26,
        Meta::OifKind => 27,
    }
}

fn ct_key(key: Ct) -> u32 {
    match key {
        Ct::State => 0,
        Ct::Status => 2,
    }
}

fn payload(field: Field, reg: Reg) -> Attrs {
    // Base 1 is the network header, 2 the transport header.
    let (base, offset, length) = match field {
        Field::SourceAddress => (1, 12, 4),
        Field::DestinationAddress => (1, 16, 4),
        Field::DestinationPort => (2, 2, 2),
    };
    Attrs::new()
        .be32(1, reg.number())
        .be32(2, base)
        .be32(3, offset)
        .be32(4, length)
}

fn bitwise(reg: Reg, mask: [u8; 4]) -> Attrs {
    Attrs::new()
        .be32(1, reg.number())
        .be32(2, reg.number())
        .be32(3, 4)
        .nest(4, value(&mask))
        .nest(5, value(&[0; 4]))
}

fn compare(reg: Reg, operator: u32, data: &[u8]) -> Attrs {
    Attrs::new()
        .be32(1, reg.number())
        .be32(2, operator)
        .nest(3, value(data))
}

/// `NFTA_DATA_VALUE`.
pub(crate) fn value(data: &[u8]) -> Attrs {
    Attrs::new().bytes(1, data)
}

/// `NFTA_DATA_VERDICT`.
fn encode_verdict(verdict: &Verdict) -> Attrs {
    let inner = match verdict {
        Verdict::Drop => Attrs::new().be32(1, 0),
        Verdict::Accept => Attrs::new().be32(1, 1),
        // NFT_JUMP is -3.
        Verdict::Jump(chain) => Attrs::new().be32(1, (-3_i32).cast_unsigned()).text(2, chain),
    };
    Attrs::new().nest(2, inner)
}

/// An interface's name as the kernel compares it.
pub(crate) fn name_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME_SIZE, 0);
    bytes
}

/// Loads an interface's name, or the kind of its link, and compares it.
pub(crate) fn name_is(key: Meta, name: &str) -> Vec<Expr> {
    vec![Expr::Meta(key, Reg(0)), Expr::Equal(Reg(0), name_bytes(name))]
}

/// Loads an interface's name and wants another.
pub(crate) fn name_is_not(key: Meta, name: &str) -> Vec<Expr> {
    vec![Expr::Meta(key, Reg(0)), Expr::NotEqual(Reg(0), name_bytes(name))]
}

/// Loads an interface's name and looks for it in a set.
pub(crate) fn name_in(key: Meta, set: &'static str) -> Vec<Expr> {
    vec![Expr::Meta(key, Reg(0)), Expr::InSet(set, Reg(0))]
}

/// An address of the packet lies in a subnet.
pub(crate) fn address_in(field: Field, subnet: Ipv4Net) -> Vec<Expr> {
    vec![
        Expr::Payload(field, Reg(0)),
        Expr::Mask(Reg(0), subnet.mask().to_be_bytes()),
        Expr::Equal(Reg(0), subnet.network().addr().octets().to_vec()),
    ]
}

/// An address of the packet does not lie in a subnet.
pub(crate) fn address_not_in(field: Field, subnet: Ipv4Net) -> Vec<Expr> {
    let mut exprs = address_in(field, subnet);
    exprs.pop();
    exprs.push(Expr::NotEqual(Reg(0), subnet.network().addr().octets().to_vec()));
    exprs
}

/// The connection's state is among these bits (established 2, related 4).
pub(crate) fn ct_has(key: Ct, bits: u32) -> Vec<Expr> {
    vec![
        Expr::Ct(key, Reg(0)),
        Expr::Mask(Reg(0), bits.to_ne_bytes()),
        Expr::NotEqual(Reg(0), vec![0; 4]),
    ]
}

/// A key of 32-bit words: an address.
pub(crate) fn address_word(addr: Ipv4Addr) -> [u8; 4] {
    addr.octets()
}

/// A port as it stands in a register: two bytes, then zeros.
pub(crate) fn port_word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// A protocol number as it stands in a register.
pub(crate) fn protocol_word(number: u8) -> [u8; 4] {
    [number, 0, 0, 0]
}
