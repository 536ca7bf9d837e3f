//! Readiness messages (`sd_notify(3)`): a directory of the container's own for the socket to which its program sends them. Who started the
//! container listens there and passes them on.

use std::path::Path;

use oci_spec::runtime::{MountBuilder, Spec};

use crate::Error;

/// Where the directory is in the container.
const INSIDE: &str = "/run/notify";
/// The socket's name in the directory.
pub const SOCKET: &str = "notify.sock";

/// Binds `directory` into the container and says so in its environment, as runc does.
pub(crate) fn add(spec: &mut Spec, directory: &Path) -> Result<(), Error> {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    let mount = MountBuilder::default()
        .destination(INSIDE)
        .typ("bind")
        .source(directory)
        .options(options)
        .build()
        .map_err(|error| Error::config("mounts", error.to_string()))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
    Ok(())
}
