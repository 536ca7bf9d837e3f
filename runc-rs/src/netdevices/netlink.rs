//! As much of route netlink (rtnetlink(7)) as moving a device takes: seven messages, encoded and read by hand. A hundred lines do for that, and
//! the runtime's program stays small.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Attributes of a link and of an address (linux/if_link.h, linux/if_addr.h).
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_NET_NS_FD: u16 = 28;
pub(crate) const IFA_LOCAL: u16 = 2;
pub(crate) const IFA_ADDRESS: u16 = 1;
pub(crate) const IFA_BROADCAST: u16 = 4;
pub(crate) const IFA_FLAGS: u16 = 8;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// `NLM_F_CREATE | NLM_F_EXCL`.
pub(crate) const NEW: u16 = 0x400 | 0x200;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// As large as the kernel makes its answers.
const BUFFER: usize = 32 * 1024;

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// `kind` is an `RTM_*` number; `body` its fixed part.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes.splice(4..6, kind.to_ne_bytes());
        bytes.splice(6..8, (NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // Values here are names, addresses and numbers: far from the limit.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, flags: u16) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.splice(0..4, length.to_ne_bytes());
        if let Some(word) = self.0.get_mut(6..8) {
            let all = u16::from_ne_bytes([word[0], word[1]]) | flags;
            word.copy_from_slice(&all.to_ne_bytes());
        }
        self.0
    }
}

/// A socket of route netlink in the network namespace that the calling thread was in.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens one.
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0 of this family is NETLINK_ROUTE.
        Ok(Self(socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?))
    }

    /// Sends `request` and waits for the kernel's word on it.
    pub(crate) fn act(&self, request: Request) -> io::Result<()> {
        self.send(request.finish(NLM_F_ACK))?;
        self.hear(|_, _| {})
    }

    /// Asks for a dump; `each` gets the bodies of its messages with their kinds.
    pub(crate) fn dump(&self, request: Request, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(request.finish(NLM_F_DUMP))?;
        self.hear(each)
    }

    fn send(&self, bytes: Vec<u8>) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        loop {
            match sendto(&self.0, &bytes, SendFlags::empty(), &kernel) {
                Err(Errno::INTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// Reads until the answer is complete.
    fn hear(&self, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let mut buffer = vec![0_u8; BUFFER];
        loop {
            let length = match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                result => result?.0,
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((kind, body, after)) = message(rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return result_of(body),
                    kind => each(kind, body),
                }
                rest = after;
            }
        }
    }
}

/// The number in an error message: 0 is "done", else a negated errno.
fn result_of(body: &[u8]) -> io::Result<()> {
    let code = body
        .first_chunk::<4>()
        .map_or(-libc::EBADMSG, |bytes| i32::from_ne_bytes(*bytes));
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// The first message: its kind, its body, and what comes after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, after))
}

/// The attributes in `bytes`.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper bits say how the value is laid out.
        Some((kind & 0x3fff, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_laid_out_as_the_kernel_reads_them() {
        let bytes = Request::new(16, NEW, &[9; 16])
            .attribute(IFLA_IFNAME, b"ab\0")
            .finish(NLM_F_ACK);
        let (kind, body, after) = message(&bytes).unwrap();
        assert_eq!((kind, body.len(), after.len(), bytes.len()), (16, 24, 0, 40));
        assert_eq!(bytes.get(6..8), Some(&0x605_u16.to_ne_bytes()[..]));
        let all: Vec<_> = attributes(body.get(16..).unwrap()).collect();
        assert_eq!(all, [(IFLA_IFNAME, &b"ab\0"[..])]);
    }

    #[test]
    fn broken_messages_end_the_reading() {
        for bytes in [
            &[][..],
            &[1, 0, 0, 0],
            &[0; 16],
            &[255; 20],
            &[17, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(message(bytes).is_none(), "{bytes:?}");
        }
        for bytes in [&[][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 5], &[0, 0, 0, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(
            result_of(&(-libc::EPERM).to_ne_bytes()).unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        assert!(result_of(&[0; 4]).is_ok() && result_of(&[]).is_err());
    }
}
