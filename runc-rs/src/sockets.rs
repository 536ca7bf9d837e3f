//! Handing descriptors to the caller's sockets: the terminal's master, the process's pidfd.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};

use crate::Error;

/// Connects to the unix stream socket at `path`.
pub(crate) fn connect_to(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |error: rustix::io::Errno| Error::system(format!("dial unix {}: connect", path.display()), error);
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// Sends `fd`, with `name` as the message's data.
pub(crate) fn send_fd(socket: impl AsFd, fd: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        socket,
        &[IoSlice::new(name.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
    .map_err(|error| Error::system(format!("send of the descriptor {name}"), error))
}
