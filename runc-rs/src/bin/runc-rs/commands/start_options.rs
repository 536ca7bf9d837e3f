//! What `create`, `run` and `exec` have in common: flags, terminals, descriptors.

use std::path::PathBuf;

use runc_rs::{CreateOptions, Created, Error, Io};

use crate::Failure;
use crate::grammar::Flag;
use crate::invocation::Invocation;

pub(crate) const BUNDLE: Flag = Flag::text(
    "bundle",
    "path to the root of the bundle directory, defaults to the current directory",
)
.short("b");
pub(crate) const CONSOLE_SOCKET: Flag = Flag::text(
    "console-socket",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal",
);
pub(crate) const PIDFD_SOCKET: Flag = Flag::text(
    "pidfd-socket",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the process",
);
pub(crate) const DETACH: Flag = Flag::switch("detach", "detach from the container's process").short("d");
pub(crate) const PID_FILE: Flag = Flag::text("pid-file", "specify the file to write the process id to");
pub(crate) const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk",
);
pub(crate) const NO_NEW_KEYRING: Flag = Flag::switch(
    "no-new-keyring",
    "do not create a new session keyring for the container.  This will cause the container to inherit the calling processes session key",
);
pub(crate) const PRESERVE_FDS: Flag = Flag::number(
    "preserve-fds",
    "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
);
pub(crate) const ARGUMENTS: &str = "<container-id>

Where \"<container-id>\" is a name for the container that no other container on the host has.";

/// The bundle and its configuration.
fn load(invocation: &Invocation) -> Result<(PathBuf, oci_spec::runtime::Spec), Failure> {
    let bundle = invocation.values.path("bundle").unwrap_or_else(|| PathBuf::from("."));
    // The configuration decides of a missing bundle only by its own absence.
    std::fs::metadata(&bundle).map_err(|error| Failure::on("chdir", &bundle, error))?;
    let (spec, warnings) = runc_rs::load_spec_with_warnings(&bundle)?;
    for warning in warnings {
        invocation.log.warn(&warning);
    }
    Ok((bundle, spec))
}

/// The options of `create` and `run`; `detach` is true for the former.
pub(crate) fn create_options(invocation: &Invocation, detach: bool) -> Result<CreateOptions, Failure> {
    let values = &invocation.values;
    // Before anything is opened that could take the place of a descriptor that is not there.
    let sockets = listening_sockets();
    let preserved = preserved(values.number("preserve-fds"), sockets)?;
    let (bundle, mut spec) = load(invocation)?;
    let mut terminal = false;
    if let Some(mut process) = spec.process().clone() {
        terminal = process.terminal().unwrap_or(false);
        if sockets > 0 {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".to_owned()]);
            process.set_env(Some(env));
            spec.set_process(Some(process));
        }
    }
    let mut options = CreateOptions::new(bundle);
    options.io = io(terminal, detach, values.path("console-socket"))?;
    options.spec = Some(spec);
    options.no_pivot = values.switch("no-pivot");
    options.no_new_keyring = values.switch("no-new-keyring");
    options.preserve_fds = preserved;
    options.pid_file = values.path("pid-file");
    options.pidfd_socket = values.path("pidfd-socket");
    options.notify_socket = crate::notify::manager().is_some();
    options.cgroup_manager = invocation.cgroup_manager()?;
    options.rootless = invocation.rootless()?;
    Ok(options)
}

/// Where the standard streams lead.
pub(crate) fn io(terminal: bool, detach: bool, socket: Option<PathBuf>) -> Result<Io, Failure> {
    match (terminal && detach, socket) {
        (true, None) => Err(Failure::new(
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (true, Some(socket)) => Ok(Io::ConsoleSocket(socket)),
        (false, Some(_)) => Err(Failure::new(
            "cannot use console socket if runc will not detach or allocate tty",
        )),
        (false, None) if terminal => Ok(Io::Terminal),
        (false, None) => Ok(Io::Inherit),
    }
}

/// Socket activation (`sd_listen_fds(3)`): how many descriptors from 3 on were meant for this process.
fn listening_sockets() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) {
        number("LISTEN_FDS").unwrap_or(0)
    } else {
        0
    }
}

/// How many descriptors from 3 on go to the process: `sockets`, and `wanted` after them. Each of the latter must be there, or a descriptor
/// of the runtime's own would be taken for it.
pub(crate) fn preserved(wanted: i64, sockets: u32) -> Result<u32, Failure> {
    let bad = |_| Failure::new(format!("invalid number of file descriptors: {wanted}"));
    let wanted = u32::try_from(wanted.max(0)).map_err(bad)?;
    for index in 0..wanted {
        let descriptor = 3 + u64::from(sockets) + u64::from(index);
        let link = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
        if let Err(source) = std::fs::symlink_metadata(&link) {
            let action = format!("unable to stat preserved-fd {index} (of {wanted})");
            return Err(Error::System { action, source }.into());
        }
    }
    Ok(sockets.saturating_add(wanted))
}

/// Tells the user what was ignored.
pub(crate) fn warn(created: &Created, invocation: &Invocation) {
    for warning in &created.warnings {
        invocation.log.warn(warning);
    }
}
