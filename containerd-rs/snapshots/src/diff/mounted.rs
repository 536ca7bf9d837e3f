//! Trees of mounts, looked at without showing them to anybody else.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Mount, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::mounts::{self, Dirs};

/// A directory of our own.
pub(crate) fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|e| Error::io(format!("open {}", path.display()), e))
}

/// The root of what mounts make, to be read. An overlay is mounted in a mount namespace of a thread that ends at once; the
/// descriptor keeps it, and with the descriptor it goes, whatever happens to us.
pub(crate) fn open(of: &[Mount]) -> Result<OwnedFd> {
    let (layers, userxattr) = match mounts::dirs(of)? {
        Dirs::Plain { dir, .. } => (vec![dir], false),
        // The upper directory may be mounted elsewhere, and no two mounts may write to it: here it is one more below.
        Dirs::Overlay {
            upper,
            lower,
            userxattr,
        } => (upper.into_iter().chain(lower).collect(), userxattr),
    };
    if let [dir] = &layers[..] {
        return directory(dir);
    }
    let thread = std::thread::Builder::new()
        .name("mount".into())
        .spawn(move || overlay(&layers, userxattr));
    let thread = thread.map_err(|e| Error::io("spawn a mounter", e))?;
    thread
        .join()
        .map_err(|_| Error::Internal("the mounter panicked".into()))?
}

fn overlay(layers: &[PathBuf], userxattr: bool) -> Result<OwnedFd> {
    let on = |what: &str, e| Error::io(format!("{what} for a diff"), e);
    let target = layers
        .first()
        .ok_or_else(|| Error::InvalidArgument("an overlay of no directories".into()))?;
    crate::sys::unshare_thread(UnshareFlags::NEWNS | UnshareFlags::FS).map_err(|e| on("unshare", e))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| on("make / private", e))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY;
    let (common, short) = shorten(layers);
    rustix::process::chdir(common).map_err(|e| on("chdir", e))?;
    let mut options = b"lowerdir=".to_vec();
    for (i, dir) in short.iter().enumerate() {
        if i > 0 {
            options.push(b':');
        }
        for byte in dir.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\') {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    if userxattr {
        options.extend_from_slice(b",userxattr");
    }
    let options =
        std::ffi::CString::new(options).map_err(|_| Error::InvalidArgument("a NUL in mount options".into()))?;
    // Any directory will do to mount on: nobody else sees it.
    mount("overlay", target, "overlay", flags, options.as_c_str()).map_err(|e| on("mount overlay", e))?;
    directory(target)
}

/// Options must fit into a page: the layers' paths from a directory they share, which this thread can go to alone.
fn shorten(layers: &[PathBuf]) -> (&Path, Vec<&Path>) {
    let two_up = layers.first().and_then(|dir| dir.parent()).and_then(Path::parent);
    let common = two_up.unwrap_or(Path::new("/"));
    let short: Option<Vec<_>> = layers.iter().map(|dir| dir.strip_prefix(common).ok()).collect();
    short.map_or_else(
        || (Path::new("/"), layers.iter().map(PathBuf::as_path).collect()),
        |short| (common, short),
    )
}
