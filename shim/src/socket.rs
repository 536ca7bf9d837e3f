//! The shim's socket: where it is, who may take it, and who may speak to it.
//!
//! Sockets are files with mode 0600 in a directory of root's, never abstract ones, which any process in the same network namespace could
//! reach (CVE-2020-15257). Taking one is done under a lock on the directory: between two shims of one group that start at once, and between
//! a shim that starts and one that ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// containerd's directory for the sockets of shims.
pub(crate) const DIRECTORY: &str = "/run/containerd/s";

/// The outcome of [`claim`].
#[derive(Debug)]
pub(crate) enum Claim {
    /// The socket is ours now, and listens.
    Ours(UnixListener),
    /// Another shim of the group listens there already.
    Live,
}

/// The path of a group's socket: the SHA-256 of the manager's address, the namespace and the group, as containerd's shims name it.
pub(crate) fn path(directory: &Path, manager: &str, namespace: &str, group: &str) -> PathBuf {
    let name = clean(&format!("{manager}/{namespace}/{group}"));
    directory.join(hex::encode(Sha256::digest(name.as_bytes())))
}

/// Go's `filepath.Join`: no empty, `.` or `..` parts.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    }
}

/// Listens at `path`, unless somebody does already. A socket file that nobody listens on is replaced.
///
/// # Errors
/// [`Error::File`] when the directory or the socket cannot be made.
pub(crate) fn claim(path: &Path) -> Result<Claim> {
    let _lock = lock(path)?;
    if path.symlink_metadata().is_ok() {
        match UnixStream::connect(path) {
            Ok(_) => return Ok(Claim::Live),
            Err(_) => std::fs::remove_file(path).map_err(Error::file("remove", path))?,
        }
    }
    // The file is born with its final mode: nobody gets in between bind and chmod. `start` has one thread, so the umask is ours alone.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(Error::file("bind", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(Error::file("chmod", path))?;
    Ok(Claim::Ours(listener))
}

/// Removes the socket. One that is gone already is no error.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn release(path: &Path) -> Result<()> {
    let _lock = lock(path)?;
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes the socket of a shim that is gone; one that is listened on stays.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn release_dead(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let _lock = lock(path)?;
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(Error::file("remove", path))
        }
        _ => Ok(()),
    }
}

/// The lock on the directory of `path`; released when dropped.
fn lock(path: &Path) -> Result<File> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(Error::file("mkdir", directory))?;
    let file = File::open(directory).map_err(Error::file("open", directory))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(Error::file("lock", directory))?;
    Ok(file)
}

/// Whether the peer of a connection may command us: the user we run as, and root.
pub(crate) fn may_speak(peer: u32) -> bool {
    peer == 0 || peer == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_as_containerd_names_it() {
        let path = path(Path::new("/s"), "/run/containerd/containerd.sock", "default", "c1");
        let expected = hex::encode(Sha256::digest(b"/run/containerd/containerd.sock/default/c1"));
        assert_eq!(path, Path::new("/s").join(expected));
        assert_eq!(clean("/a//b/./c/../d"), "/a/b/d");
    }

    #[test]
    fn one_of_a_group_gets_it_and_a_dead_ones_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s/x");
        let Claim::Ours(first) = claim(&path).unwrap() else {
            panic!("taken")
        };
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(claim(&path).unwrap(), Claim::Live));
        release_dead(&path).unwrap();
        assert!(path.exists());
        drop(first);
        assert!(matches!(claim(&path).unwrap(), Claim::Ours(_)));
        release_dead(&path).unwrap();
        assert!(!path.exists());
        release_dead(&path).unwrap();
        release(&path).unwrap();
    }
}
