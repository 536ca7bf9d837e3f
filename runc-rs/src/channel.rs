//! What a container's child and its parent say to each other while it is being set up: a sequenced-packet socket pair.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The longest message: an error text is cut to it.
const LIMIT: usize = 8192;

/// What is said.
#[derive(Debug)]
pub(crate) enum Message {
    /// Child: my user namespace waits for its mappings.
    MapUsers,
    /// Child: the process that goes on is not me but this one, a child of yours.
    Successor(i32),
    /// Child: my network namespace waits for its devices.
    MoveDevices,
    /// Child: I may not enter the cgroup by myself.
    EnterCgroup,
    /// Child: what is my process id in your namespace?
    TellPid,
    /// Child: run the hooks of the runtime's namespaces.
    RunHooks,
    /// Child: the pseudo terminal's master.
    Console(OwnedFd),
    /// Child: all is set up.
    Ready,
    /// Child: this went wrong. The child ends.
    Failed(String),
    /// Parent: go on; the number is the child's process id in the parent's namespace.
    Go(i32),
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Both ends.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (parent, child) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(parent), Self(child)))
    }

    /// Says `message`.
    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        let (kind, body, fd): (u8, Vec<u8>, Option<BorrowedFd<'_>>) = match message {
            Message::MapUsers => (b'U', Vec::new(), None),
            Message::Successor(pid) => (b'S', pid.to_le_bytes().to_vec(), None),
            Message::MoveDevices => (b'N', Vec::new(), None),
            Message::EnterCgroup => (b'E', Vec::new(), None),
            Message::TellPid => (b'P', Vec::new(), None),
            Message::RunHooks => (b'H', Vec::new(), None),
            Message::Console(fd) => (b'C', Vec::new(), Some(fd.as_fd())),
            Message::Ready => (b'R', Vec::new(), None),
            Message::Failed(text) => (b'F', text.as_bytes().iter().copied().take(LIMIT - 1).collect(), None),
            Message::Go(pid) => (b'G', pid.to_le_bytes().to_vec(), None),
        };
        let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(&body)];
        let fds = fd.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// As [`Self::receive`], but the end of `process` (a pidfd) is an end too, whoever else has the other end open.
    pub(crate) fn receive_from(&self, process: BorrowedFd<'_>) -> io::Result<Option<Message>> {
        loop {
            let mut fds = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::from_borrowed_fd(process, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            // What it said before it ended comes first.
            return if fds[0].revents().is_empty() {
                Ok(None)
            } else {
                self.receive()
            };
        }
    }

    /// Waits for the next message; `None` when the other end is closed.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        let mut buffer = vec![0_u8; LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // A reset says once that the child died with something unread; what it had said before is still to be read.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                result => break result?.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let Some((kind, body)) = buffer.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let number = || {
            body.try_into()
                .map(i32::from_le_bytes)
                .map_err(|_| io::Error::from(Errno::BADMSG))
        };
        Ok(Some(match (kind, fd) {
            (b'U', _) => Message::MapUsers,
            (b'S', _) => Message::Successor(number()?),
            (b'N', _) => Message::MoveDevices,
            (b'E', _) => Message::EnterCgroup,
            (b'P', _) => Message::TellPid,
            (b'H', _) => Message::RunHooks,
            (b'C', Some(fd)) => Message::Console(fd),
            (b'R', _) => Message::Ready,
            (b'F', _) => Message::Failed(String::from_utf8_lossy(body).into_owned()),
            (b'G', _) => Message::Go(number()?),
            _ => return Err(Errno::BADMSG.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_one_that_did_not_listen_arrive() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Go(1)).unwrap();
        b.send(&Message::Failed("why".into())).unwrap();
        drop(b);
        assert!(matches!(a.receive().unwrap(), Some(Message::Failed(text)) if text == "why"));
        assert!(a.receive().unwrap().is_none());
        assert!(a.send(&Message::Ready).is_err());
    }

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Successor(77)).unwrap();
        a.send(&Message::Failed("x".repeat(20_000))).unwrap();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        a.send(&Message::Console(read)).unwrap();
        drop(a);
        assert!(matches!(b.receive().unwrap(), Some(Message::Successor(77))));
        assert!(matches!(b.receive().unwrap(), Some(Message::Failed(text)) if text.len() == LIMIT - 1));
        assert!(matches!(b.receive().unwrap(), Some(Message::Console(_))));
        assert!(b.receive().unwrap().is_none());
    }
}
