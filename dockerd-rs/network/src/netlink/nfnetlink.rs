//! Batches of nftables messages: all of a batch takes effect at once, or nothing of it.
//!
//! The socket is kept open between batches. Closing a netfilter socket makes the kernel wait until all it has to clean up after
//! the last change is gone, which takes a grace period of RCU: ten milliseconds for nothing.

use std::io;

use nix::sys::socket::SockProtocol;

use super::nla::Attrs;
use super::socket::{HEADER, Socket};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// `NLM_F_CREATE`: without it a message for a thing that is not there fails.
pub(crate) const CREATE: u16 = 0x400;
/// `NFPROTO_IPV4`.
pub(crate) const FAMILY: u8 = 2;

/// A netfilter socket that is opened when first needed and kept.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Socket>);

impl Kept {
    /// Lets `work` use the socket. After a failure it is closed: an answer may be left in it that nobody waits for any more.
    pub(crate) fn with<T>(&mut self, work: impl FnOnce(&mut Socket) -> io::Result<T>) -> io::Result<T> {
        let mut socket = match self.0.take() {
            Some(socket) => socket,
            None => Socket::open(SockProtocol::NetlinkNetFilter)?,
        };
        let result = work(&mut socket)?;
        self.0 = Some(socket);
        Ok(result)
    }
}

/// Messages under construction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<(u16, u16, Attrs)>,
}

impl Batch {
    /// Adds a message of the nftables subsystem.
    pub(crate) fn push(&mut self, kind: u16, flags: u16, attrs: Attrs) {
        self.messages.push((kind, flags, attrs));
    }

    /// Sends the batch and waits for the kernel's verdict.
    pub(crate) fn commit(self, socket: &mut Kept) -> io::Result<()> {
        socket.with(|socket| self.commit_by(socket))
    }

    fn commit_by(self, socket: &mut Socket) -> io::Result<()> {
        let Some(last) = self.messages.len().checked_sub(1) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let begin = socket.next_sequence();
        put(
            &mut bytes,
            BATCH_BEGIN,
            NLM_F_REQUEST,
            begin,
            0,
            SUBSYSTEM,
            &Attrs::new(),
        );
        let mut sequence = begin;
        for (index, (kind, flags, attrs)) in self.messages.iter().enumerate() {
            sequence = socket.next_sequence();
            // One acknowledgement is enough; errors come for every message that has one.
            let flags = NLM_F_REQUEST | flags | if index == last { NLM_F_ACK } else { 0 };
            put(&mut bytes, (SUBSYSTEM << 8) | kind, flags, sequence, FAMILY, 0, attrs);
        }
        let end = socket.next_sequence();
        put(&mut bytes, BATCH_END, NLM_F_REQUEST, end, 0, SUBSYSTEM, &Attrs::new());
        socket.reserve(bytes.len())?;
        socket.send(&bytes)?;
        socket.batch_acknowledged(begin, sequence)
    }
}

/// Appends a message: `struct nlmsghdr`, `struct nfgenmsg`, attributes.
pub(super) fn put(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attrs: &Attrs) {
    let length = HEADER + 4 + attrs.as_bytes().len();
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    out.extend(attrs.as_bytes());
}
