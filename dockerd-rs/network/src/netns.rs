//! Network namespaces that live by a file they are bound to, made and used without a helper process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Error, Result};
use crate::netlink::route::Route;
use crate::types::NetnsRef;

fn io_error(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
    Error::Io {
        what,
        path: path.to_owned(),
        source: source.into(),
    }
}

/// Makes a new network namespace, its `lo` up, and binds it to the file `path` (as Docker does below `<exec-root>/netns`).
/// The directory is made when missing. On failure no file is left. The caller's own namespace is not touched: a short-lived
/// thread makes the new one.
pub fn create(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| io_error("create directory", parent, e))?;
    }
    let file = rustix::fs::open(
        path,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    drop(file.map_err(|e| io_error("create", path, e))?);
    let made = in_thread(&path.display().to_string(), || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| io_error("unshare network namespace for", path, e))?;
        rustix::mount::mount("/proc/thread-self/ns/net", path, "", MountFlags::BIND, None)
            .map_err(|e| io_error("bind network namespace to", path, e))?;
        Route::open()?.loopback_up()
    });
    if made.is_err() {
        // The first error is the one that counts; what is left of the file goes as far as it can.
        let _ = remove(path);
    }
    made
}

/// Takes the file of [`create`] away, and with it the namespace once its last process and socket are gone. A path that is
/// not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(io_error("unmount", path, errno)),
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, e)),
        _ => Ok(()),
    }
}

/// Opens the namespace that `netns` names.
pub fn open(netns: &NetnsRef) -> Result<OwnedFd> {
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| io_error("open network namespace", path, e))
    };
    match netns {
        NetnsRef::Path(path) => open(path),
        NetnsRef::Pid(pid) => open(Path::new(&format!("/proc/{pid}/ns/net"))),
        NetnsRef::Fd(fd) => fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| io_error("duplicate", Path::new("netns fd"), e)),
    }
}

/// Runs `work` in another network namespace, on a thread of its own that ends with it: no thread of the caller ever
/// changes its namespace, so none can be left in the wrong one.
pub fn within<T: Send>(netns: BorrowedFd<'_>, name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    in_thread(name, || {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(|e| io_error("enter network namespace", Path::new(name), e))?;
        work()
    })
}

fn in_thread<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work);
        let worker = worker.map_err(|e| io_error("start a thread for", Path::new(name), e))?;
        worker.join().map_err(|_| Error::Worker(name.to_owned()))?
    })
}
