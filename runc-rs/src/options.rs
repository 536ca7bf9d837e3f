//! What callers hand in and get back: options of `create` and `exec`, and the created process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

/// Where the standard streams of a container process lead.
#[derive(Debug, Default)]
pub enum Io {
    /// The process gets the caller's descriptors 0, 1 and 2.
    #[default]
    Inherit,
    /// The process gets these three descriptors as 0, 1 and 2. They are closed in the caller when `create` or `exec` returns.
    Fds {
        /// Becomes descriptor 0.
        stdin: OwnedFd,
        /// Becomes descriptor 1.
        stdout: OwnedFd,
        /// Becomes descriptor 2.
        stderr: OwnedFd,
    },
    /// A pseudo terminal is made inside the container; [`Created::console`] is its master.
    Terminal,
    /// A pseudo terminal is made inside the container; its master is sent over the unix socket at this path (`SCM_RIGHTS`).
    ConsoleSocket(PathBuf),
}

/// Who makes and limits the container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime itself, through the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd, over D-Bus; `linux.cgroupsPath` is `slice:prefix:name`.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup, without limits.
    Disabled,
}

/// How a container is created. `CreateOptions::new(bundle)` has the defaults of `runc create`.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// The bundle directory: relative paths in the configuration start here, and `config.json` is read from here when `spec` is absent.
    pub bundle: PathBuf,
    /// The configuration, when the caller already has it parsed.
    pub spec: Option<Spec>,
    /// Standard streams of the container's process.
    pub io: Io,
    /// Use `MS_MOVE` and `chroot` in place of `pivot_root` (initramfs hosts; weaker).
    pub no_pivot: bool,
    /// Do not give the container a session keyring of its own.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the process inherits from the caller.
    pub preserve_fds: u32,
    /// Where to write the process id, as text without a newline.
    pub pid_file: Option<PathBuf>,
    /// A unix socket path to which a pidfd of the container's process is sent (`SCM_RIGHTS`).
    pub pidfd_socket: Option<PathBuf>,
    /// Make the directory `notify` beside the container's record and bind it into the container, for a socket at which the caller listens for
    /// readiness messages ([`crate::notify`]).
    pub notify_socket: bool,
    /// Who makes and limits the cgroup.
    pub cgroup_manager: CgroupManager,
    /// Whether a cgroup that may not be made or limited is no error; `None` decides by the caller's privileges.
    pub rootless: Option<bool>,
}

impl CreateOptions {
    /// Options for the bundle at `bundle`: descriptors inherited, `config.json` read from the bundle.
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            ..Self::default()
        }
    }
}

/// How a further process is started in a container.
#[derive(Debug)]
pub struct ExecOptions {
    /// The process: arguments, environment, user, capabilities. Absent capabilities are the container's own.
    pub process: Process,
    /// Standard streams of the process.
    pub io: Io,
    /// How many descriptors from 3 on the process inherits from the caller.
    pub preserve_fds: u32,
    /// Where to write the process id, as text without a newline.
    pub pid_file: Option<PathBuf>,
    /// A unix socket path to which a pidfd of the process is sent (`SCM_RIGHTS`).
    pub pidfd_socket: Option<PathBuf>,
    /// Start the process although the container is paused; it runs when the container is resumed.
    pub ignore_paused: bool,
    /// Existing cgroups beneath the container's that the process enters, by controller; the key `""` stands for the unified hierarchy.
    pub sub_cgroups: BTreeMap<String, PathBuf>,
}

impl ExecOptions {
    /// Options for `process`: descriptors inherited.
    pub fn new(process: Process) -> Self {
        Self {
            process,
            io: Io::Inherit,
            preserve_fds: 0,
            pid_file: None,
            pidfd_socket: None,
            ignore_paused: false,
            sub_cgroups: BTreeMap::new(),
        }
    }
}

/// A process that `create` or `exec` made: a child of the caller, who reaps it.
#[derive(Debug)]
pub struct Created {
    /// Process id in the caller's pid namespace.
    pub pid: i32,
    /// A pidfd of the process, opened while it could not yet have been reaped.
    pub pidfd: Option<OwnedFd>,
    /// Master of the pseudo terminal, for [`Io::Terminal`].
    pub console: Option<OwnedFd>,
    /// What the caller should tell its user: fields that were ignored, with the reason.
    pub warnings: Vec<String>,
}

impl Created {
    /// Sends a signal to the process; one that has ended is no error.
    ///
    /// # Errors
    /// When the kernel refuses the number or the right to send it.
    pub fn signal(&self, signal: i32) -> std::io::Result<()> {
        use std::os::fd::AsFd;
        let Some(pidfd) = &self.pidfd else { return Ok(()) };
        match crate::sys::process::pidfd_send_signal(pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }
}
