//! Checkpoint: a running container becomes files.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::request::{Kind, opts, request};
use super::session::{FIRST_FILE, Session, Start, check_features, version};
use super::wire::Writer;
use super::{CheckpointOptions, Migration, external, log};
use crate::init::fail::{Fail, Step};
use crate::plan::Plan;
use crate::record::Record;
use crate::store::Directory;
use crate::{Error, Status, cgroup, lifecycle};

/// The file with the names of the standard streams, in the image directory. runc's name, so that either can restore what the other wrote.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
const LOG: &str = "dump.log";

/// Checkpoints container `id`.
pub(crate) fn checkpoint(root: &Path, id: &str, mut options: CheckpointOptions) -> Result<(), Error> {
    let directory = Directory::new(root, id)?;
    let lock = directory.lock()?;
    let record = directory.load()?;
    let status = lifecycle::status(&record, &directory)?;
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::WrongStatus {
            id: id.into(),
            status,
            message: format!("Container cannot be checkpointed in {status} state"),
        });
    }
    version()?;
    if options.pre_dump || options.common.lazy_pages {
        check_features(options.pre_dump, options.common.lazy_pages)?;
    }
    let plan = plan_of(&record)?;
    let directories = Directories::find(&options.common, true)?;
    check_parent(&options)?;
    let message = dump_options(&plan, &record, &options, &directories)?;
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let result = dump(kind, &message, &mut options, &directories);
    drop(lock);
    result.map_err(|error| directories.with_log(error, LOG))
}

fn dump(kind: Kind, message: &Writer, options: &mut CheckpointOptions, directories: &Directories) -> Result<(), Error> {
    let session = Session::start(&Start {
        prepare: Some(&|| directories.open()),
        ..Start::default()
    })?;
    session.ask(&request(kind, Some(message)), |notification| {
        if notification.script == "status-ready"
            && let Some(fd) = options.status_fd.take()
        {
            File::from(fd)
                .write_all(&[0])
                .map_err(|error| Error::system("write to the status descriptor", error))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The container's plan, from its bundle: what the record does not keep.
fn plan_of(record: &Record) -> Result<Plan, Error> {
    let (spec, _) = crate::load_spec_with_warnings(&record.bundle)?;
    Plan::new(&spec, &record.bundle, &mut Vec::new())
}

fn check_parent(options: &CheckpointOptions) -> Result<(), Error> {
    let Some(parent) = &options.parent_path else {
        return Ok(());
    };
    if parent.is_absolute() {
        return Err(Error::config("--parent-path", "--parent-path must be relative"));
    }
    let path = options.common.image_path.join(parent);
    let failed = |error: std::io::Error| Error::file("invalid --parent-path: stat", &path, error);
    let kind = std::fs::metadata(&path).map_err(failed)?;
    if kind.is_dir() {
        Ok(())
    } else {
        Err(failed(rustix::io::Errno::NOTDIR.into()))
    }
}

/// The image and work directories.
#[derive(Debug)]
pub(crate) struct Directories {
    images: PathBuf,
    work: Option<PathBuf>,
}

impl Directories {
    /// Finds them; `make` makes the image directory, too. The work directory is made in any case.
    pub(crate) fn find(options: &Migration, make: bool) -> Result<Self, Error> {
        let find = |path: &Path, make: bool| {
            if make {
                let mut builder = std::fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(path);
                made.map_err(|error| Error::file("mkdir", path, error))?;
            }
            path.canonicalize().map_err(|error| Error::file("open", path, error))
        };
        Ok(Self {
            images: find(&options.image_path, make)?,
            work: options.work_path.as_deref().map(|path| find(path, true)).transpose()?,
        })
    }

    /// Opens them, in this order: for CRIU's own process, whose mount namespace they have to be of.
    pub(crate) fn open(&self) -> Result<Vec<OwnedFd>, Fail> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| openat(CWD, path, flags, Mode::empty()).step(|| format!("open {}", path.display()));
        std::iter::once(&self.images).chain(&self.work).map(open).collect()
    }

    /// The first descriptor in CRIU's process after [`Self::open`]'s.
    pub(crate) fn next_file(&self) -> i32 {
        FIRST_FILE + 1 + i32::from(self.work.is_some())
    }

    /// The options that both operations have.
    pub(crate) fn common_options(&self, options: &Migration, log: &str, annotation: Option<&str>) -> Writer {
        let mut message = Writer::default();
        message
            .signed(opts::IMAGES_DIR_FD, FIRST_FILE)
            .number(opts::LOG_LEVEL, 4)
            .bytes(opts::LOG_FILE, log)
            .flag(opts::NOTIFY_SCRIPTS, true)
            .flag(opts::MANAGE_CGROUPS, true)
            .number(opts::MANAGE_CGROUPS_MODE, options.manage_cgroups.number())
            // The network's devices are not the runtime's affair: it comes back empty, and somebody sets it up.
            .number(opts::EMPTY_NS, u64::from(libc::CLONE_NEWNET.cast_unsigned()))
            .flag(opts::ORPHAN_PTS_MASTER, true)
            .flag(opts::SHELL_JOB, options.shell_job)
            .flag(opts::EXT_UNIX_SK, options.ext_unix_sk)
            .flag(opts::TCP_ESTABLISHED, options.tcp_established)
            .flag(opts::FILE_LOCKS, options.file_locks)
            .flag(opts::LAZY_PAGES, options.lazy_pages)
            .flag(opts::AUTO_DEDUP, options.auto_dedup);
        if self.work.is_some() {
            message.signed(opts::WORK_DIR_FD, FIRST_FILE + 1);
        }
        if let Some(path) = external::config_file(annotation) {
            message.bytes(opts::CONFIG_FILE, path);
        }
        message
    }

    /// Adds what CRIU wrote to an error of CRIU's.
    pub(crate) fn with_log(&self, error: Error, log: &str) -> Error {
        match error {
            Error::Criu { message, .. } => Error::Criu {
                message,
                log: log::quote(&self.work.as_ref().unwrap_or(&self.images).join(log)),
            },
            error => error,
        }
    }
}

fn dump_options(
    plan: &Plan,
    record: &Record,
    options: &CheckpointOptions,
    directories: &Directories,
) -> Result<Writer, Error> {
    let annotation = record.annotations.get(super::CONFIG_ANNOTATION).map(String::as_str);
    let mut message = directories.common_options(&options.common, LOG, annotation);
    message
        .bytes(opts::ROOT, record.rootfs.as_os_str().as_bytes())
        .signed(opts::PID, record.pid)
        .flag(opts::LEAVE_RUNNING, options.leave_running)
        .flag(opts::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight)
        .flag(opts::LINK_REMAP, options.link_remap);
    for (flag, path) in external::namespaces(plan) {
        message.bytes(opts::EXTERNAL, external::namespace_for_dump(flag, path)?);
    }
    if let Some(freezer) = cgroup::freezer_path(&lifecycle::cgroup(record)) {
        message.bytes(opts::FREEZE_CGROUP, freezer.as_os_str().as_bytes());
    }
    if let Some((address, port)) = &options.page_server {
        let mut server = Writer::default();
        server.bytes(1, address).number(2, u64::from(*port));
        message.message(opts::PAGE_SERVER, &server);
    }
    if let Some(parent) = &options.parent_path {
        message.bytes(opts::PARENT_IMG, parent.as_os_str().as_bytes());
    }
    if options.parent_path.is_some() || options.pre_dump {
        message.flag(opts::TRACK_MEM, true);
    }
    if !options.pre_dump {
        add_outside(plan, record, &mut message)?;
        write_descriptors(record.pid, &options.common.image_path)?;
    }
    Ok(message)
}

/// The mounts from outside. Each keeps its destination as its name.
fn add_outside(plan: &Plan, record: &Record, message: &mut Writer) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &record.rootfs, flags, Mode::empty())
        .map_err(|error| Error::file("open", &record.rootfs, error))?;
    let host = runc_rs_cgroups::Host::detect().map_err(|error| Error::Cgroup(error.to_string()))?;
    let own = plan.namespaces.has(libc::CLONE_NEWCGROUP);
    let steps = runc_rs_cgroups::mounts::plan(&host, &lifecycle::cgroup(record), own);
    for mount in external::mounts(plan, &steps, root.as_fd()) {
        message.message(
            opts::EXT_MNT,
            &external::mount_map(&mount.destination, &mount.destination),
        );
    }
    for masked in external::masked_files(plan, record.pid)? {
        message.message(opts::EXT_MNT, &external::mount_map(&masked, Path::new("/dev/null")));
    }
    Ok(())
}

fn write_descriptors(pid: i32, images: &Path) -> Result<(), Error> {
    let path = images.join(DESCRIPTORS);
    let text = serde_json::to_vec(&external::descriptors(pid)).map_err(|error| Error::Json {
        path: path.clone(),
        message: error.to_string(),
    })?;
    crate::store::write_atomically(&path, &text, 0o600)
}
