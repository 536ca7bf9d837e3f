//! A synchronous netlink socket: send a request, read frames until it is answered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recv, send, setsockopt,
    socket, sockopt,
};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLMSG_ERROR`: an error, or with code 0 an acknowledgement.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the dump is not consistent, something changed meanwhile.
const DUMP_INTERRUPTED: u16 = 0x10;
/// A dump's datagrams are at most 32 KiB; the kernel sizes them by the reader's buffer.
const BUFFER: usize = 64 * 1024;

/// An open netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message of the kernel: its type and what follows the header.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// Port of the socket that asked for it, or caused it.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

impl Socket {
    /// Opens a socket of `protocol` in the network namespace of the calling thread.
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        Self::listen(protocol, 0)
    }

    /// As [`Socket::open`], to hear what is told to `groups` (a mask).
    pub(crate) fn listen(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// The number that the kernel knows this socket by, in its network namespace.
    pub(crate) fn port(&self) -> io::Result<u32> {
        Ok(getsockname::<NetlinkAddr>(self.fd.as_raw_fd())?.pid())
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes room for `bytes` of one message (a large batch) in the send buffer.
    pub(crate) fn reserve(&self, bytes: usize) -> io::Result<()> {
        // The kernel accounts for more than the bytes themselves; it doubles the value for that.
        if bytes > 64 * 1024 {
            setsockopt(&self.fd, sockopt::SndBufForce, &bytes)?;
        }
        Ok(())
    }

    /// A sequence number not used before on this socket; never 0, which the kernel uses for its own messages.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// Sends whole messages.
    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        let sent = retry(|| send(self.fd.as_raw_fd(), messages, MsgFlags::empty()))?;
        if sent == messages.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Reads until the acknowledgement, or the error, of `sequence`.
    pub(crate) fn acknowledged(&mut self, sequence: u32) -> io::Result<()> {
        let mut answer = None;
        while answer.is_none() {
            self.receive(|frame| {
                if frame.kind == ERROR && frame.sequence == sequence && answer.is_none() {
                    answer = Some(error_code(frame.payload));
                }
                Ok(())
            })?;
        }
        answer.unwrap_or(Ok(()))
    }

    /// Reads the one message that answers `sequence`, and shows it.
    pub(crate) fn answer<T>(
        &mut self,
        sequence: u32,
        mut see: impl FnMut(&Frame<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut answer = None;
        while answer.is_none() {
            self.receive(|frame| {
                if frame.sequence == sequence && answer.is_none() {
                    if frame.kind == ERROR {
                        error_code(frame.payload)?;
                    } else {
                        answer = Some(see(frame)?);
                    }
                }
                Ok(())
            })?;
        }
        answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads until a batch is answered: by the acknowledgement of its last message, or by an error on its first, which
    /// stands for the batch as a whole. The first error of any message in between is the result.
    pub(crate) fn batch_acknowledged(&mut self, first: u32, last: u32) -> io::Result<()> {
        let (mut answered, mut result) = (false, Ok(()));
        while !answered {
            self.receive(|frame| {
                if frame.kind == ERROR && (first..=last).contains(&frame.sequence) {
                    let code = error_code(frame.payload);
                    answered |= frame.sequence == last || (frame.sequence == first && code.is_err());
                    if result.is_ok() {
                        result = code;
                    }
                }
                Ok(())
            })?;
        }
        result
    }

    /// Reads a dump to its end and shows each message of it to `see`. `Interrupted` means that the dump is not consistent
    /// and should be asked for again.
    pub(crate) fn dump(&mut self, sequence: u32, mut see: impl FnMut(&Frame<'_>) -> io::Result<()>) -> io::Result<()> {
        let (mut done, mut torn) = (false, false);
        while !done {
            self.receive(|frame| {
                if frame.sequence != sequence {
                    return Ok(());
                }
                torn |= frame.flags & DUMP_INTERRUPTED != 0;
                match frame.kind {
                    DONE => {
                        done = true;
                        error_code(frame.payload)
                    }
                    ERROR => {
                        done = true;
                        error_code(frame.payload)
                    }
                    _ => see(frame),
                }
            })?;
        }
        if torn {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            Ok(())
        }
    }

    /// Reads one datagram and shows its frames.
    pub(crate) fn receive(&mut self, mut see: impl FnMut(&Frame<'_>) -> io::Result<()>) -> io::Result<()> {
        let (fd, buffer) = (self.fd.as_raw_fd(), &mut self.buffer);
        let length = retry(|| recv(fd, buffer, MsgFlags::MSG_TRUNC))?;
        let mut rest = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        while let Some((frame, after)) = split_frame(rest) {
            see(&frame)?;
            rest = after;
        }
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Cuts the first message off a datagram.
fn split_frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let frame = Frame {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        sequence: u32_at(bytes, 8)?,
        port: u32_at(bytes, 12)?,
        payload,
    };
    Some((frame, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// `struct nlmsgerr` begins with the negated errno; so does the payload of `NLMSG_DONE`.
fn error_code(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(u32::cast_signed) {
        None | Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(0_u16.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0_u32.to_ne_bytes());
        out.extend(payload);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn a_datagram_is_cut_into_its_messages() {
        let bytes = [message(16, 7, b"abcde"), message(3, 7, &[0; 4])].concat();
        let (first, rest) = split_frame(&bytes).unwrap();
        assert_eq!((first.kind, first.sequence, first.payload), (16, 7, &b"abcde"[..]));
        let (second, rest) = split_frame(rest).unwrap();
        assert_eq!(second.kind, DONE);
        assert!(split_frame(rest).is_none());
    }

    #[test]
    fn a_torn_message_is_not_read() {
        let bytes = message(16, 7, b"abcdefgh");
        assert!(split_frame(&bytes[..bytes.len() - 1]).is_none());
        assert!(split_frame(&[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn errors_carry_the_errno() {
        assert!(error_code(&0_i32.to_ne_bytes()).is_ok());
        assert_eq!(
            error_code(&(-17_i32).to_ne_bytes()).unwrap_err().raw_os_error(),
            Some(17)
        );
    }
}
