//! Sockets to serve on, and the pid file.

use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Config;
use crate::error::{Error, Result};

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// A client's connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Listener {
    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener) => Stream::Unix(listener.accept().await?.0),
            Self::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
        })
    }
}

/// Binds every host of the settings.
pub(super) fn bind(config: &Config) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for host in &config.hosts {
        match host.split_once("://") {
            Some(("unix", path)) => listeners.push(Listener::Unix(bind_unix(Path::new(path), &config.flags.group)?)),
            Some(("tcp", address)) => listeners.push(Listener::Tcp(bind_tcp(address, config.flags.allow_plain_tcp)?)),
            Some(("fd", _)) => listeners.extend(inherited()?),
            _ => {
                return Err(Error::invalid(format!(
                    "invalid bind address ({host}): want unix://, tcp:// or fd://"
                )));
            }
        }
    }
    Ok(listeners)
}

fn bind_unix(path: &Path, group: &str) -> Result<UnixListener> {
    let failed = |e: io::Error| Error::failed(format!("listen on unix://{}", path.display()), e);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Error::internal(format!(
            "listen on unix://{}: another daemon answers there",
            path.display()
        )));
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    // Nobody else may connect between bind and chmod.
    let listener = {
        let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(old);
        listener.map_err(failed)?
    };
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => nix::unistd::chown(path, None, Some(found.gid)).map_err(|e| failed(e.into()))?,
        _ => tracing::debug!(group, "no such group: the socket stays with the daemon's"),
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

fn bind_tcp(address: &str, allowed: bool) -> Result<TcpListener> {
    if !allowed {
        return Err(Error::invalid(format!(
            "tcp://{address}: whoever reaches it is root here; without TLS it is served only with --allow-plain-tcp"
        )));
    }
    let failed = |e: io::Error| Error::failed(format!("listen on tcp://{address}"), e);
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

/// Sockets handed over by a service manager (sd_listen_fds(3)).
fn inherited() -> Result<Vec<Listener>> {
    let own = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse::<u32>().ok()) == Some(std::process::id());
    let count = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|count| count.parse::<i32>().ok())
        .unwrap_or(0);
    if !own || count < 1 {
        return Err(Error::internal(
            "no sockets found via socket activation: make sure the service was started by systemd",
        ));
    }
    (3..3 + count).map(sys::take).collect()
}

/// Takes over descriptors that are ours by contract.
mod sys {
    #![allow(unsafe_code)]
    use super::{Error, FromRawFd, Listener, Result, UnixListener};

    pub(super) fn take(fd: i32) -> Result<Listener> {
        // SAFETY: sd_listen_fds(3) makes descriptors from 3 on this process's own; each is taken once, at start.
        let listener = unsafe { std::os::unix::net::UnixListener::from_raw_fd(fd) };
        let failed = |e| Error::failed(format!("socket {fd} from the service manager"), e);
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Listener::Unix(UnixListener::from_std(listener).map_err(failed)?))
    }
}

/// The pid file, as long as the daemon runs.
#[derive(Debug)]
pub(super) struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes the pid file; refuses while the process it names lives.
    pub(super) fn write(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let old = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok());
        if let Some(pid) = old.filter(|pid| *pid != std::process::id() && is_daemon(*pid)) {
            return Err(Error::internal(format!(
                "pid file found, ensure docker is not running or delete {} (process {pid} lives)",
                path.display()
            )));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::failed(format!("mkdir {}", parent.display()), e))?;
        }
        std::fs::write(path, std::process::id().to_string())
            .map_err(|e| Error::failed(format!("write {}", path.display()), e))?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a process is a daemon like this one: a number in an old file may be somebody else's by now, or that of a process that only waits to
/// be reaped.
fn is_daemon(pid: u32) -> bool {
    let program = |pid: &str| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .and_then(|path| path.file_name().map(ToOwned::to_owned))
    };
    let own = program("self");
    own.is_some() && program(&pid.to_string()) == own
}
