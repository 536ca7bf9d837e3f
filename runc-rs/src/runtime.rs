//! The runtime's operations.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount};

use runc_rs_cgroups::Cgroup;

use crate::{
    CheckpointOptions, Container, ContainerBuilder, CreateOptions, Created, Entry, Error, ExecOptions, RestoreOptions,
    State, create, criu, delete, exec, lifecycle, live_mounts,
};

/// An OCI runtime over one state directory. Holds no other state: any number of them, in any process, may use the same directory.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
}

impl Runtime {
    /// A runtime that keeps its containers' records in `root` (a tmpfs; made when missing).
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A container to be said more of and made.
    pub fn container(&self, id: impl Into<String>) -> ContainerBuilder {
        ContainerBuilder::new(self.clone(), id.into())
    }

    /// A handle of a container that is there, whoever made it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Json`] and [`Error::File`] for a broken record.
    pub fn open(&self, id: impl Into<String>) -> Result<Container, Error> {
        let id = id.into();
        lifecycle::record(&self.root, &id)?;
        Ok(Container::new(self.clone(), id))
    }

    /// Creates a container up to the point where its program would be executed. The first process is a child of the caller.
    ///
    /// # Errors
    /// [`Error::Exists`] for a taken id, [`Error::Process`] for what failed inside; nothing is left behind.
    pub fn create(&self, id: &str, options: CreateOptions) -> Result<Created, Error> {
        create::create(&self.root, id, options)
    }

    /// Lets the program of a created container run.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it runs already or has stopped.
    pub fn start(&self, id: &str) -> Result<(), Error> {
        lifecycle::start(&self.root, id)
    }

    /// Starts a further process in the container, as a child of the caller. Returns when its program has been executed.
    ///
    /// # Errors
    /// [`Error::Process`] with runc's words when the program cannot be executed.
    pub fn exec(&self, id: &str, options: ExecOptions) -> Result<Created, Error> {
        exec::exec(&self.root, id, options)
    }

    /// Writes the running container into image files, by CRIU. It has ended afterwards, unless it was to be left running, and is to be deleted.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it neither runs nor is paused, [`Error::Criu`] with CRIU's log.
    pub fn checkpoint(&self, id: &str, options: CheckpointOptions) -> Result<(), Error> {
        criu::dump::checkpoint(&self.root, id, options)
    }

    /// Makes a running container from image files, by CRIU. Its first process is a child of the caller.
    ///
    /// # Errors
    /// As for [`Self::create`], and [`Error::Criu`] with CRIU's log; nothing is left behind.
    pub fn restore(&self, id: &str, options: RestoreOptions) -> Result<Created, Error> {
        criu::restore::restore(&self.root, id, options)
    }

    /// The container's state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn state(&self, id: &str) -> Result<State, Error> {
        lifecycle::state(&self.root, id)
    }

    /// Sends `signal` to the first process, or with `all` to every process of the container.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the first process has ended and `all` is not set.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        lifecycle::kill(&self.root, id, signal, all)
    }

    /// Removes a stopped (or created) container; with `force` a running one too, and an unknown one is no error.
    ///
    /// # Errors
    /// [`Error::NotStopped`] for a running container without `force`. [`Error::Hook`] for a `poststop` hook that failed: the container is
    /// gone all the same, and the other hooks were called.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        self.delete_with_warnings(id, force).map(drop)
    }

    /// As [`Runtime::delete`], with what the caller should tell its user: `poststop` hooks that failed, which keeps nothing from going.
    ///
    /// # Errors
    /// As [`Runtime::delete`].
    pub fn delete_with_warnings(&self, id: &str, force: bool) -> Result<Vec<String>, Error> {
        delete::delete(&self.root, id, force)
    }

    /// The states of all containers, by id.
    ///
    /// # Errors
    /// When the state directory or one of the records cannot be read; [`Self::entries`] tells the others all the same.
    pub fn list(&self) -> Result<Vec<State>, Error> {
        self.entries()?.into_iter().map(|entry| entry.state).collect()
    }

    /// Every container's id, sorted, each with its state or why that cannot be told: a record that is broken hides no other.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        lifecycle::entries(&self.root)
    }

    /// Sets the container's share of cache (`L3:0=ff;1=f`) and of memory bandwidth (`MB:0=20;1=70`), as in `linux.intelRdt`.
    ///
    /// # Errors
    /// When the machine has no Intel RDT, or the kernel refuses a schema.
    pub fn update_intel_rdt(&self, id: &str, l3: Option<&str>, bandwidth: Option<&str>) -> Result<(), Error> {
        lifecycle::update_intel_rdt(&self.root, id, l3, bandwidth)
    }

    /// Process ids of everything that runs in the container.
    ///
    /// # Errors
    /// When the control group cannot be read.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, Error> {
        lifecycle::processes(&self.root, id)
    }

    /// Freezes the container's processes.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it neither runs nor waits to.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        lifecycle::pause(&self.root, id)
    }

    /// Thaws the container's processes.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it is not paused.
    pub fn resume(&self, id: &str) -> Result<(), Error> {
        lifecycle::resume(&self.root, id)
    }

    /// Sets the given limits; absent ones stay as they are.
    ///
    /// # Errors
    /// When the kernel refuses a value.
    pub fn update(&self, id: &str, resources: &LinuxResources) -> Result<(), Error> {
        lifecycle::update(&self.root, id, resources)
    }

    /// Mounts filesystems in a running container, as `mounts` of a configuration would; destinations that are missing are made.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Config`] for what only `create` can mount; [`Error::System`] with the place and the kernel's words.
    pub fn add_mounts(&self, id: &str, mounts: &[Mount]) -> Result<(), Error> {
        live_mounts::add(&self.root, id, mounts)
    }

    /// Takes away what is mounted at the destinations of `mounts` in a running container, the last one first.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::System`] for a destination on which nothing is mounted.
    pub fn remove_mounts(&self, id: &str, mounts: &[Mount]) -> Result<(), Error> {
        live_mounts::remove(&self.root, id, mounts)
    }

    /// The container's control group: statistics, out-of-memory notification, freezer.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn cgroup(&self, id: &str) -> Result<Cgroup, Error> {
        Ok(lifecycle::cgroup(&lifecycle::record(&self.root, id)?))
    }
}
