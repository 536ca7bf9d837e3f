//! The handle of one container's cgroup: make it, fill it, limit it, empty it, remove it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::dir::{Dir, children};
use crate::error::{Error, Result};
use crate::host::{Host, Mode};
use crate::systemd::{Manager, Unit};

mod apply;
mod freezer;
mod prepare;
mod scope;
mod sub;
mod update;

pub use freezer::FreezerState;

/// The key of cgroup2's directory among [`Cgroup::paths`], as in runc's state.json.
pub const UNIFIED: &str = "";

/// The cgroup of one container: a directory for each v1 controller, one for cgroup2, or both.
///
/// The handle holds paths, not descriptors, so that it can be saved with the container's state and used by another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    paths: BTreeMap<String, PathBuf>,
    unit: Option<Unit>,
}

impl Cgroup {
    /// The cgroup `path` (see [`crate::host::container_path`]) on this host. Nothing is made yet.
    ///
    /// # Errors
    /// [`Error::NoDevices`] on a host with v1 controllers that lacks the devices controller.
    pub fn new(host: &Host, path: &Path) -> Result<Self> {
        let paths: BTreeMap<String, PathBuf> = host.directories(path).into_iter().collect();
        if host.mode() != Mode::V2 && !paths.contains_key("devices") {
            return Err(Error::NoDevices);
        }
        Ok(Self { paths, unit: None })
    }

    /// The cgroup of a systemd unit. Nothing is made yet: see [`Self::start`].
    ///
    /// # Errors
    /// As [`Self::new`]; [`Error::SliceName`].
    pub fn of_unit(host: &Host, unit: Unit, manager: &Manager) -> Result<Self> {
        let path = Path::new("/").join(manager.control_group()).join(unit.path()?);
        let mut cgroup = Self::new(host, &path)?;
        cgroup.unit = Some(unit);
        Ok(cgroup)
    }

    /// The cgroup whose directories were saved from [`Self::paths`].
    pub fn load(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, unit: None }
    }

    /// The same, as that of a unit that was saved from [`Self::unit`].
    #[must_use]
    pub fn with_unit(self, unit: Option<Unit>) -> Self {
        Self { unit, ..self }
    }

    /// The systemd unit, where systemd made the cgroup.
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// The directories by controller; cgroup2's under [`UNIFIED`]. What state.json calls `cgroup_paths`.
    pub fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// The directory of one controller: its v1 hierarchy's, else cgroup2's.
    pub fn path(&self, controller: &str) -> Option<&Path> {
        self.paths
            .get(controller)
            .or_else(|| self.paths.get(UNIFIED))
            .map(PathBuf::as_path)
    }

    /// Which layout the cgroup was made for.
    pub fn mode(&self) -> Mode {
        let v1 = self.paths.keys().any(|k| k != UNIFIED && !k.starts_with("name="));
        match (v1, self.paths.contains_key(UNIFIED)) {
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::V2,
            _ => Mode::V1,
        }
    }

    fn unified(&self) -> Option<&Path> {
        self.paths.get(UNIFIED).map(PathBuf::as_path)
    }

    /// Each directory once.
    fn directories(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = self.paths.values().map(PathBuf::as_path).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether any of its directories is there.
    pub fn exists(&self) -> bool {
        self.directories().iter().any(|d| d.is_dir())
    }

    /// Makes the directories, with parents; v1's cpuset is filled from the parents, v2's controllers are enabled in them. A
    /// directory that exists already is taken as it is.
    ///
    /// # Errors
    /// The first directory that cannot be made. What was made until then is removed again.
    pub fn create(&self) -> Result<()> {
        let mut made = Vec::new();
        let result = self.directories().into_iter().try_for_each(|directory| {
            prepare::make(directory, &mut made)?;
            prepare::inherit(directory, self.mode())
        });
        if result.is_err() {
            for directory in made.iter().rev() {
                // What is left is no worse than the error that is reported.
                let _ = std::fs::remove_dir(directory);
            }
        }
        result
    }

    /// As [`Self::create`], but directories that may not be made (EACCES, EPERM, EROFS) are forgotten, as runc does for rootless
    /// containers without a cgroup path of their own.
    ///
    /// # Errors
    /// Any other failure.
    pub fn create_where_allowed(&mut self) -> Result<()> {
        let mut refused = Vec::new();
        for directory in self.directories() {
            let made = prepare::make(directory, &mut Vec::new());
            match made.and_then(|()| prepare::inherit(directory, self.mode())) {
                Ok(()) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS)) => {
                    refused.push(directory.to_owned());
                }
                Err(e) => return Err(e),
            }
        }
        self.paths.retain(|_, directory| !refused.contains(directory));
        Ok(())
    }

    /// Forgets the directories that are there and may not be entered: they are somebody else's of the same name.
    pub fn forget_foreign(&mut self) {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let may_enter = |directory: &Path| {
            accessat(CWD, directory.join("cgroup.procs"), Access::WRITE_OK, AtFlags::EACCESS).is_ok()
        };
        self.paths
            .retain(|_, directory| !directory.is_dir() || may_enter(directory));
    }

    /// Moves a process (all its threads) into every directory. 0 is the caller itself.
    ///
    /// # Errors
    /// A directory that cannot be opened or refuses the process.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.directories().into_iter().try_for_each(|d| enter(d, pid))
    }

    /// As [`Self::add`], for a process that `clone3(CLONE_INTO_CGROUP)` put into [`Self::unified_fd`] already.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_to_v1(&self, pid: i32) -> Result<()> {
        let unified = self.unified();
        self.directories()
            .into_iter()
            .filter(|d| Some(*d) != unified)
            .try_for_each(|d| enter(d, pid))
    }

    /// Puts limits in force by the cgroup's files: those that `resources` names, the others stay as they are. For a new container before
    /// its process enters; see [`Self::update`] for one that runs.
    ///
    /// Device rules replace all earlier ones; absent or empty, they are left alone. The caller appends
    /// [`crate::devices::default_rules`] where the container is to have them.
    ///
    /// # Errors
    /// See [`crate::plan::plan`]; and what the kernel refuses. What was set until then stays.
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        match &self.unit {
            Some(_) => apply::set(self, &scope::rounded(resources)),
            None => apply::set(self, resources),
        }
    }

    /// Changes the limits of a container that runs: all that `resources` names, or, when one is refused, none (device rules, which come
    /// last, take nothing else with them). A cgroup of systemd's is limited by way of systemd first, then by its files. Of quota and
    /// period the one that is not named stays in force.
    ///
    /// # Errors
    /// As [`Self::set`]; and what systemd refuses.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        update::update(self, resources)
    }

    /// The processes in this cgroup and all below it, in no order, each once.
    ///
    /// # Errors
    /// A directory that cannot be read; a cgroup that is gone has no processes.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(directory) = self.representative() {
            collect_pids(directory, &mut pids, 0)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// The one directory whose process list stands for all: `devices` on v1, which runc never leaves out.
    fn representative(&self) -> Option<&Path> {
        self.path("devices")
            .or_else(|| self.paths.values().next().map(PathBuf::as_path))
    }

    /// cgroup2's directory, open, for `clone3(CLONE_INTO_CGROUP)`; `None` on a v1 host.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn unified_fd(&self) -> Result<Option<OwnedFd>> {
        self.unified().map(|p| Dir::open(p).map(Dir::into_fd)).transpose()
    }

    /// Freezes every process of the cgroup; returns when all are frozen.
    ///
    /// # Errors
    /// [`Error::Freezer`] when they would not freeze within some seconds (all are thawed again).
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(self)
    }

    /// Thaws every process of the cgroup.
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(self)
    }

    /// Thaws the cgroup and every one beneath it, which its own processes may have frozen. A cgroup that is gone is thawed, and so is
    /// one without a freezer.
    ///
    /// # Errors
    /// A state that cannot be written.
    pub fn thaw_all(&self) -> Result<()> {
        freezer::thaw_all(self)
    }

    /// Whether the cgroup is frozen.
    ///
    /// # Errors
    /// A state that cannot be read; a cgroup that is gone is [`FreezerState::Thawed`].
    pub fn freezer_state(&self) -> Result<FreezerState> {
        freezer::state(self)
    }

    /// Sends a signal to every process of the cgroup and below. SIGKILL uses `cgroup.kill` where there is one; else the group is
    /// frozen meanwhile, so that none can fork away.
    ///
    /// # Errors
    /// When the list of processes cannot be read, or a process may not be signalled.
    pub fn kill(&self, signal: i32) -> Result<()> {
        freezer::kill(self, signal)
    }

    /// Stops the unit, where there is one, and removes the directories and all child cgroups. A cgroup that is gone already is a
    /// success. Directories that are busy are tried for some two seconds.
    ///
    /// # Errors
    /// [`Error::NotRemoved`] with what is left, after all have been tried; [`Error::Systemd`], also after that.
    pub fn delete(&self) -> Result<()> {
        let stopped = self.unit.as_ref().map_or(Ok(()), scope::stop);
        self.remove().and(stopped)
    }

    fn remove(&self) -> Result<()> {
        let mut left = self.directories();
        let mut delay = Duration::from_micros(500);
        for _ in 0..12 {
            left.retain(|d| remove_tree(d, 0).is_err());
            if left.is_empty() {
                return Ok(());
            }
            sleep(delay);
            delay *= 2;
        }
        Err(Error::NotRemoved {
            paths: left.into_iter().map(Path::to_owned).collect(),
        })
    }
}

/// How deep a container may nest cgroups before we give up on it: a hostile container must not overflow our stack.
const MAX_DEPTH: usize = 256;

fn enter(directory: &Path, pid: i32) -> Result<()> {
    let dir = Dir::open(directory)?;
    let pid = pid.to_string();
    // The kernel says EINVAL while a task is being born (TASK_NEW).
    for _ in 0..4 {
        match dir.write("cgroup.procs", &pid) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => sleep(Duration::from_millis(30)),
            other => return other,
        }
    }
    dir.write("cgroup.procs", &pid)
}

fn collect_pids(directory: &Path, pids: &mut Vec<i32>, depth: usize) -> Result<()> {
    let gone = |e: &Error| matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV));
    let text = match Dir::open(directory).and_then(|d| match d.read("cgroup.procs") {
        // A threaded cgroup of v2 has no list of processes of its own.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(String::new()),
        other => other,
    }) {
        Err(e) if gone(&e) => return Ok(()),
        other => other?,
    };
    for line in text.lines() {
        let pid = line.parse().map_err(|_| Error::Parse {
            path: directory.join("cgroup.procs"),
            content: line.into(),
        })?;
        // Processes of a pid namespace that is not below ours show as 0.
        if pid != 0 {
            pids.push(pid);
        }
    }
    if depth == MAX_DEPTH {
        return Err(Error::NotRemoved {
            paths: vec![directory.to_owned()],
        });
    }
    match children(directory) {
        Err(e) if gone(&e) => Ok(()),
        children => children?
            .iter()
            .try_for_each(|child| collect_pids(child, pids, depth + 1)),
    }
}

fn remove_tree(directory: &Path, depth: usize) -> Result<()> {
    match std::fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) && depth < MAX_DEPTH => {}
        Err(e) => return Err(Error::io("rmdir", directory)(e)),
    }
    // Busy is also what any mount point is: nothing is looked for where no cgroup is.
    Dir::open(directory)?;
    for child in children(directory)? {
        remove_tree(&child, depth + 1)?;
    }
    match std::fs::remove_dir(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("rmdir", directory)(e)),
        _ => Ok(()),
    }
}
