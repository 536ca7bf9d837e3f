//! One `criu swrk` process, and the talk with it.

use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags,
    SocketType, recvmsg, sendmsg, socketpair,
};

use super::request::{Kind, Response, feature_check, notified, request};
use super::wire::Writer;
use crate::Error;
use crate::channel::{Channel, Message};
use crate::init::fail::Fail;
use crate::spawn::{PidNamespace, fork_into};
use crate::sys::process;

/// The longest message that CRIU sends.
const LIMIT: usize = 40 * 1024;
/// The descriptor of the socket in CRIU's process; the files follow.
const SOCKET: i32 = 3;
/// The descriptor of the first file in CRIU's process.
pub(crate) const FIRST_FILE: i32 = SOCKET + 1;

/// A CRIU process's standard streams.
#[derive(Default)]
pub(crate) enum Stdio<'a> {
    /// None: it logs, and what it says besides is for nobody.
    #[default]
    Null,
    /// The caller's, for a restored process.
    Inherit,
    /// These, for a restored process.
    Fds([BorrowedFd<'a>; 3]),
}

/// What a CRIU process starts with.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Its descriptors 0, 1 and 2.
    pub(crate) stdio: Stdio<'a>,
    /// Runs in the process before CRIU does. What it opens become the descriptors from [`FIRST_FILE`] on.
    pub(crate) prepare: Option<&'a dyn Fn() -> Result<Vec<OwnedFd>, Fail>>,
    /// The descriptors that follow.
    pub(crate) files: &'a [OwnedFd],
}

/// A notification: its name, the process it is about, and a descriptor that came with it.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) script: String,
    pub(crate) pid: i32,
    pub(crate) fd: Option<OwnedFd>,
}

/// A CRIU process. It is reaped when this is dropped: it ends when nothing more is to be read from its socket.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Option<OwnedFd>,
    pub(crate) pid: i32,
}

impl Drop for Session {
    fn drop(&mut self) {
        // CRIU may have something to say still: closing at once would be an error to it.
        if let Some(socket) = &self.socket {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
        process::reap(self.pid);
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::Criu {
        message: message.into(),
        log: Vec::new(),
    }
}

impl Session {
    /// Starts CRIU.
    pub(crate) fn start(start: &Start<'_>) -> Result<Self, Error> {
        let program = program()?;
        let args = [c"criu".to_owned(), c"swrk".to_owned(), c"3".to_owned()];
        let env: Vec<CString> = std::env::vars_os()
            .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
            .collect();
        let (listen, speak) = Channel::pair().map_err(|error| Error::system("socketpair", error))?;
        let pid = fork_into(&PidNamespace::Own, None, |_| {
            let Err(Fail(text)) = become_criu(start, &program, &args, &env, &speak);
            // The parent reads why.
            let _ = speak.send(&Message::Failed(text));
            process::exit_now(1)
        })?;
        let mut session = Self { socket: None, pid };
        drop(speak);
        // Until the channel is closed by the program's start.
        while let Some(message) = listen
            .receive()
            .map_err(|error| Error::system("hear from criu's process", error))?
        {
            match message {
                Message::Failed(text) => return Err(failed(text)),
                Message::Console(socket) => session.socket = Some(socket),
                _ => {}
            }
        }
        Ok(session)
    }

    /// Asks, and answers notifications, until the request is answered.
    pub(crate) fn ask(
        &self,
        message: &Writer,
        mut notify: impl FnMut(Notification) -> Result<(), Error>,
    ) -> Result<Response, Error> {
        self.send(message)?;
        loop {
            let (response, fd) = self.receive()?;
            if !response.success {
                return Err(failed(format!(
                    "criu failed: type {} errno {}",
                    Kind::name(response.kind),
                    response.errno
                )));
            }
            if response.kind != Kind::Notify as u64 {
                return Ok(response);
            }
            let (script, pid) = response.notify.unwrap_or_default();
            let result = notify(Notification { script, pid, fd });
            // An error of ours is the one to report, whatever CRIU thinks of it.
            let told = self.send(&notified(result.is_ok()));
            result.and(told)?;
        }
    }

    fn socket(&self) -> Result<&OwnedFd, Error> {
        self.socket.as_ref().ok_or_else(|| failed("the session is over"))
    }

    fn send(&self, message: &Writer) -> Result<(), Error> {
        let mut control = SendAncillaryBuffer::default();
        let parts = [IoSlice::new(message.as_bytes())];
        sendmsg(self.socket()?, &parts, &mut control, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|error| Error::system("write to criu", error))
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>), Error> {
        let mut buffer = vec![0_u8; LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            match recvmsg(self.socket()?, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                result => break result.map_err(|error| Error::system("read from criu", error))?.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match buffer.get(..length) {
            None | Some([]) => Err(failed("unexpected EOF")),
            Some(message) => {
                let response = Response::parse(message).ok_or_else(|| failed("unable to parse criu's response"))?;
                Ok((response, fd))
            }
        }
    }
}

/// The `criu` on `PATH`.
fn program() -> Result<CString, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok())
        .and_then(|program| CString::new(program.as_os_str().as_bytes()).ok())
        .ok_or_else(|| failed("exec: \"criu\": executable file not found in $PATH"))
}

/// In the forked process.
fn become_criu(
    start: &Start<'_>,
    program: &CString,
    args: &[CString],
    env: &[CString],
    speak: &Channel,
) -> Result<std::convert::Infallible, Fail> {
    use crate::init::fail::Step;
    let files = start.prepare.map(|prepare| prepare()).transpose()?.unwrap_or_default();
    // Made here: CRIU looks for the descriptors it is told of in the process that made the socket, and there they have to be of CRIU's own mount
    // namespace.
    let (ours, socket) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).step(|| "socketpair")?;
    speak.send(&Message::Console(ours)).step(|| "send of the socket")?;
    let mut wanted: Vec<BorrowedFd<'_>> = Vec::new();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = openat(CWD, c"/dev/null", flags, Mode::empty()).step(|| "open /dev/null")?;
    match start.stdio {
        Stdio::Null => wanted.extend([null.as_fd(); 3]),
        Stdio::Inherit => {}
        Stdio::Fds(fds) => wanted.extend(fds),
    }
    let first = if wanted.is_empty() { SOCKET } else { 0 };
    wanted.push(socket.as_fd());
    wanted.extend(files.iter().chain(start.files).map(AsFd::as_fd));
    let last = first + i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let speak = rustix::io::fcntl_dupfd_cloexec(speak, last).step(|| "dup of the channel")?;
    process::place(&wanted, first).step(|| "dup of criu's descriptors")?;
    let mut keep: Vec<i32> = (SOCKET..last).collect();
    keep.push(speak.as_raw_fd());
    process::close_all_but(&keep).step(|| "close_range")?;
    process::reset_signals();
    let error = process::execve(program, args, env);
    let text = format!("exec {}: {error}", program.to_string_lossy());
    // Through the copy: the channel itself may have been replaced by one of criu's descriptors.
    let _ = Channel::from(speak).send(&Message::Failed(text));
    process::exit_now(1)
}

/// CRIU's version as runc counts it: 31701 is 3.17.1.
pub(crate) fn version() -> Result<u64, Error> {
    let session = Session::start(&Start::default())?;
    let answer = session.ask(&request(Kind::Version, None), |_| Ok(()));
    answer.map(|response| response.version).map_err(|error| match error {
        Error::Criu { message, log } => Error::Criu {
            message: format!("CRIU version check failed: {message}"),
            log,
        },
        error => error,
    })
}

/// Checks that CRIU can do what is asked.
pub(crate) fn check_features(mem_track: bool, lazy_pages: bool) -> Result<(), Error> {
    let session = Session::start(&Start::default())?;
    let response = session.ask(&feature_check(mem_track, lazy_pages), |_| Ok(()))?;
    let missing: Vec<&str> = [
        (mem_track && !response.features.0, "MemTrack"),
        (lazy_pages && !response.features.1, "LazyPages"),
    ]
    .iter()
    .filter_map(|(missing, name)| missing.then_some(*name))
    .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(failed(format!("criu is missing features: [{}]", missing.join(" "))))
    }
}
