//! A container by its name.

use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use runc_rs_cgroups::{Cgroup, Stats};

use super::exec::ExecBuilder;
use super::watch::Events;
use crate::{Error, Runtime, State, Status};

/// A container: its runtime and its id, nothing else. Any number of handles, in any number of threads and programs, may stand for one
/// container; each call asks the state directory and the kernel. Dropping it does nothing to the container.
#[derive(Debug, Clone)]
pub struct Container {
    runtime: Runtime,
    id: String,
}

impl Container {
    pub(crate) fn new(runtime: Runtime, id: String) -> Self {
        Self { runtime, id }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The runtime whose state directory knows it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Lets the program of a created container run.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it runs already or has stopped; [`Error::Hook`].
    pub fn start(&self) -> Result<(), Error> {
        self.runtime.start(&self.id)
    }

    /// A further process, to be said more of and started.
    pub fn exec<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> ExecBuilder {
        ExecBuilder::new(self.clone(), args.into_iter().map(Into::into).collect())
    }

    /// Its state, as the specification and runc have it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Json`] and [`Error::File`] for a broken record.
    pub fn state(&self) -> Result<State, Error> {
        self.runtime.state(&self.id)
    }

    /// Where it stands.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn status(&self) -> Result<Status, Error> {
        Ok(self.state()?.status)
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        self.runtime.kill(&self.id, signal, false)
    }

    /// Sends a signal to every process.
    ///
    /// # Errors
    /// When the control group cannot be read, or a process may not be signalled.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        self.runtime.kill(&self.id, signal, true)
    }

    /// Process ids of everything that runs in it, in this program's pid namespace.
    ///
    /// # Errors
    /// When the control group cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        self.runtime.processes(&self.id)
    }

    /// Freezes its processes; returns when they stand still.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it neither runs nor waits to.
    pub fn pause(&self) -> Result<(), Error> {
        self.runtime.pause(&self.id)
    }

    /// Thaws its processes.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] when it is not paused.
    pub fn resume(&self) -> Result<(), Error> {
        self.runtime.resume(&self.id)
    }

    /// Sets the given limits; absent ones stay as they are.
    ///
    /// # Errors
    /// When the kernel refuses a value.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.runtime.update(&self.id, resources)
    }

    /// What it uses.
    ///
    /// # Errors
    /// When a file of the control group cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.cgroup()?.stats().map_err(|error| Error::Cgroup(error.to_string()))
    }

    /// Its control group: pressure, out-of-memory notification, freezer.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn cgroup(&self) -> Result<Cgroup, Error> {
        self.runtime.cgroup(&self.id)
    }

    /// Statistics every `interval` and out-of-memory notices as they come, until the container has ended.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; a control group that cannot be watched.
    pub fn events(&self, interval: Duration) -> Result<Events, Error> {
        Events::new(self.clone(), interval)
    }

    /// Removes it once it has stopped, or while it waits for its start.
    ///
    /// # Errors
    /// [`Error::NotStopped`] for one that runs; what cannot be removed, by name. A second attempt goes on where the first one stopped.
    pub fn delete(self) -> Result<(), Error> {
        self.runtime.delete(&self.id, false)
    }

    /// Ends it, whatever it does, and removes it; one that is gone is no error.
    ///
    /// # Errors
    /// What cannot be ended or removed, by name.
    pub fn delete_by_force(self) -> Result<(), Error> {
        self.runtime.delete(&self.id, true)
    }
}
