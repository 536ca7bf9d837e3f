//! `delete`: what a manager calls when the serving process is gone or does not answer.

use std::path::Path;

use containerd_proto::containerd::task::v3::DeleteResponse;
use prost::Message as _;

use crate::args::Args;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::{mounts, runtime, socket};

/// The exit status of what was killed, as a shell would say it.
const KILLED: u32 = 137;

/// Kills and deletes the container with its runtime, unmounts its root filesystem, and returns the encoded answer. What cannot be removed is told
/// to `warn`; the answer comes all the same, as managers expect it.
///
/// # Errors
/// When it is not clear which container is meant.
pub(crate) fn remove(args: &Args, warn: impl Fn(&str)) -> Result<Vec<u8>> {
    if args.id.is_empty() || args.id.contains('/') || args.id.starts_with('.') {
        return Err(Error::Invalid(format!("shim id {:?}", args.id)));
    }
    let here = std::env::current_dir().map_err(Error::system("getcwd"))?;
    // The current directory is a bundle, if not always this container's: shims of groups are asked for any of them.
    let bundle = match args.bundle.as_os_str().is_empty() {
        true => Bundle::new(here.parent().unwrap_or(Path::new("/")).join(&args.id)),
        false => Bundle::new(here.join(&args.bundle)),
    };
    let options = bundle.read_options()?;
    let runtime = runtime::select(&options, &args.namespace, bundle.path());
    if let Err(error) = runtime.delete(&args.id, true)
        && !error.is_unknown_container()
    {
        warn(&format!("failed to remove runc container: {error}"));
    }
    if let Err(error) = mounts::unmount(&bundle.rootfs()) {
        warn(&format!("failed to cleanup rootfs mount: {error}"));
    }
    let released = bundle
        .socket()
        .and_then(|path| path.map_or(Ok(()), |path| socket::release_dead(&path)));
    if let Err(error) = released {
        warn(&format!("failed to remove the socket: {error}"));
    }
    let response = DeleteResponse {
        pid: bundle.read_pid()?.unsigned_abs(),
        exit_status: KILLED,
        exited_at: Some(containerd_proto::now()),
    };
    Ok(response.encode_to_vec())
}
