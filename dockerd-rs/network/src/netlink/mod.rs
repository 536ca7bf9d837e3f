//! Talking to the kernel: one small synchronous socket, and over it routing netlink (links, addresses, routes), nftables and
//! the connection table. A socket belongs to the network namespace of the thread that opened it, for good.

pub(crate) mod conntrack;
pub(crate) mod nfnetlink;
pub(crate) mod nla;
pub(crate) mod route;
pub(crate) mod socket;
