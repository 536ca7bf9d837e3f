//! Unix sockets: bound without taking a live one from anybody, and open to their owner and group only.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::{UnixListener, UnixStream};

use crate::EngineError;

/// The longest path that fits `sun_path` with its final NUL.
const LONGEST: usize = 107;

/// Binds a socket with mode 0660. What is left of a dead process is replaced; a socket that answers, or a file that is none, is not.
pub(crate) async fn bind(path: &Path, owner: Option<(u32, u32)>) -> Result<UnixListener, EngineError> {
    let problem = |problem| EngineError::Path {
        field: "address",
        path: path.to_owned(),
        problem,
    };
    if !path.is_absolute() {
        return Err(problem("must be an absolute path"));
    }
    if path.as_os_str().len() > LONGEST {
        return Err(problem("is too long for a unix socket (107 bytes)"));
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(EngineError::io("mkdir", parent))?;
    }
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(problem("is there and not a socket"));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(EngineError::Served { path: path.to_owned() });
        }
        fs::remove_file(path).map_err(EngineError::io("unlink", path))?;
    }
    // Bound under a name that nobody knows and shown when its mode is right, so there is no moment in which others may connect.
    let hidden = hidden(path);
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(EngineError::io("bind", &hidden))?;
    show(&hidden, path, owner).inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })?;
    Ok(listener)
}

/// A short name beside the socket, so that it fits wherever the socket's own does.
fn hidden(path: &Path) -> std::path::PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let directory = path.parent().unwrap_or(Path::new("/"));
    directory.join(format!(
        ".{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ))
}

fn show(hidden: &Path, path: &Path, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    fs::set_permissions(hidden, Permissions::from_mode(0o660)).map_err(EngineError::io("chmod", hidden))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(hidden, Some(uid), Some(gid)).map_err(EngineError::io("chown", hidden))?;
    }
    fs::rename(hidden, path).map_err(EngineError::io("rename", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn live_socket_stays_and_dead_one_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let listener = bind(&path, None).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&path, None).await, Err(EngineError::Served { .. })));
        drop(listener);
        bind(&path, None).await.unwrap();
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "a hidden socket was left"
        );
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "x").unwrap();
        assert!(bind(&path, None).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
    }
}
