//! Readiness messages of a container (`sd_notify(3)`), passed on to the service manager that started us.

use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::Failure;
use crate::invocation::Invocation;

/// How long the manager may take to say that it has read everything, in seconds.
const BARRIER: i64 = 30;

/// The manager's socket, when there is one.
pub(crate) fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// The container's socket, bound, and where its messages go.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    manager: OsString,
}

impl Notify {
    /// Binds the socket in the container's directory; `None` when nobody waits for messages or the container was made without.
    pub(crate) fn bind(invocation: &Invocation) -> Result<Option<Self>, Failure> {
        let directory = invocation.runtime().root().join(invocation.id()?).join("notify");
        let Some(manager) = manager().filter(|_| directory.is_dir()) else {
            return Ok(None);
        };
        let path = directory.join(runc_rs::notify::SOCKET);
        let failed = |error| Failure::on("bind", &path, error);
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(failed)?;
        Ok(Some(Self { socket, manager }))
    }

    /// Waits until the container says that it is ready, or ends, and tells the manager; also that it is to watch process `main`, when that is
    /// not this program.
    pub(crate) fn relay(&self, container: BorrowedFd<'_>, main: Option<i32>) -> Result<(), Failure> {
        let mut message = [0_u8; 4096];
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&container, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let [socket, _] = &fds;
            if socket.revents().is_empty() {
                return Ok(());
            }
            let length = self.socket.recv(&mut message)?;
            let text = message.get(..length).unwrap_or_default();
            if let Some(ready) = text
                .split(|byte| *byte == b'\n')
                .find(|line| line.starts_with(b"READY="))
            {
                return self.tell(ready, main);
            }
        }
    }

    fn tell(&self, ready: &[u8], main: Option<i32>) -> Result<(), Failure> {
        let socket = UnixDatagram::unbound()?;
        match self.manager.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket
                .connect(Path::new(&self.manager))
                .map_err(|error| Failure::on("connect to", Path::new(&self.manager), error))?,
        }
        socket.send(&[ready, b"\n"].concat())?;
        if let Some(pid) = main {
            socket.send(format!("MAINPID={pid}\n").as_bytes())?;
        }
        barrier(&socket)
    }
}

/// Waits until the manager has read everything (`sd_notify_barrier(3)`): it closes the descriptor that it is sent. One that does not know
/// how is waited for in vain, and that is all.
fn barrier(socket: &UnixDatagram) -> Result<(), Failure> {
    let (read, write): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let fds = [write.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"BARRIER=1")], &mut control, SendFlags::NOSIGNAL)?;
    drop(write);
    let limit = Timespec {
        tv_sec: BARRIER,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&read, PollFlags::IN)], Some(&limit))?;
    Ok(())
}
