//! What callers of checkpoint and restore hand in.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::CreateOptions;

/// How CRIU treats the container's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupsMode {
    /// CRIU's own default.
    #[default]
    Default,
    /// Restored where they are missing.
    Soft,
    /// Always restored.
    Full,
    /// An error when they exist with other properties.
    Strict,
    /// Left alone.
    Ignore,
}

impl CgroupsMode {
    /// `criu_cg_mode`.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
            Self::Default => 6,
        }
    }
}

/// What checkpoint and restore have in common.
#[derive(Debug, Clone, Default)]
pub struct Migration {
    /// Directory of the image files. Made by a checkpoint when it is missing.
    pub image_path: PathBuf,
    /// Directory of logs and other work files; the image directory when absent.
    pub work_path: Option<PathBuf>,
    /// Take along established TCP connections.
    pub tcp_established: bool,
    /// Accept unix sockets whose other end is outside.
    pub ext_unix_sk: bool,
    /// Accept a controlling terminal that belongs to the outside.
    pub shell_job: bool,
    /// Take along file locks.
    pub file_locks: bool,
    /// Hand memory over on demand (userfaultfd).
    pub lazy_pages: bool,
    /// Remove pages from parent images that newer ones have.
    pub auto_dedup: bool,
    /// The container's control groups.
    pub manage_cgroups: CgroupsMode,
}

/// How a container is checkpointed.
#[derive(Debug, Default)]
pub struct CheckpointOptions {
    /// What a restore is told, too.
    pub common: Migration,
    /// The images of an earlier pre-dump, relative to the image directory.
    pub parent_path: Option<PathBuf>,
    /// The container goes on afterwards. Without, the caller deletes it.
    pub leave_running: bool,
    /// Leave out connections that are being made.
    pub tcp_skip_in_flight: bool,
    /// Keep files that were removed while open by linking them to a name.
    pub link_remap: bool,
    /// Write memory only, and let the container go on.
    pub pre_dump: bool,
    /// Gets a NUL byte once lazy pages are ready.
    pub status_fd: Option<OwnedFd>,
    /// Address and port of the page server that takes the memory.
    pub page_server: Option<(String, u16)>,
}

/// How a container is restored.
#[derive(Debug, Default)]
pub struct RestoreOptions {
    /// Bundle, configuration and standard streams, as for a new container.
    pub create: CreateOptions,
    /// What the checkpoint was told, too.
    pub common: Migration,
    /// The LSM profile to restore into, as `TYPE:NAME`; needs CRIU 3.16.
    pub lsm_profile: Option<String>,
    /// The LSM mount context; needs CRIU 3.16.
    pub lsm_mount_context: Option<String>,
}
