//! Batches of nftables messages: all of a batch takes effect at once, or nothing of it.
//!
//! The socket is kept open between batches. Closing a netfilter socket makes the kernel wait until all it has to clean up after
//! the last change is gone, which takes a grace period of RCU: ten milliseconds for nothing.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::SockProtocol;

use super::nla::{Attrs, find};
use super::socket::{HEADER, Socket};

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWGEN`, the end of a change.
const NEW_GENERATION: u16 = 15;
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
pub(crate) struct Kept {
    socket: Option<Socket>,
    /// Its port, for those who must know our own changes from others'.
    port: Arc<AtomicU32>,
}

impl Kept {
    /// Where the port of the present socket is found.
    pub(crate) fn port(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.port)
    }

    /// Lets `work` use the socket. After a failure it is closed: an answer may be left in it that nobody waits for any more.
    pub(crate) fn with<T>(&mut self, work: impl FnOnce(&mut Socket) -> io::Result<T>) -> io::Result<T> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
                self.port.store(socket.port()?, Ordering::SeqCst);
                socket
            }
        };
        let result = work(&mut socket)?;
        self.socket = Some(socket);
        Ok(result)
    }
}

/// What the kernel tells of every change to nftables.
#[derive(Debug)]
pub(crate) struct Changes(Socket);

impl Changes {
    pub(crate) fn open() -> io::Result<Self> {
        // NFNLGRP_NFTABLES is group 7.
        Socket::listen(SockProtocol::NetlinkNetFilter, 1 << 6).map(Self)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads what has been told; true when somebody other than `ours` changed this table of family `ip`. When more was told
    /// than could be kept, it is taken to be so.
    pub(crate) fn concern(&mut self, table: &str, ours: u32) -> io::Result<bool> {
        let mut concerned = false;
        let read = self.0.receive(|frame| {
            // Every kind of message names its table in attribute 1; NEWGEN (15) has another there.
            let of_tables = frame.kind >> 8 == SUBSYSTEM && frame.kind & 0xff != NEW_GENERATION;
            let (family, attrs) = frame.payload.split_at_checked(4).unwrap_or_default();
            if of_tables && frame.port != ours && family.first() == Some(&FAMILY) {
                concerned |= find(attrs, 1).and_then(|name| name.strip_suffix(&[0])) == Some(table.as_bytes());
            }
            Ok(())
        });
        match read {
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            other => other.map(|()| concerned),
        }
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
pub(crate) fn put(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attrs: &Attrs) {
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
