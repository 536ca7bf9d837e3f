//! A container in parts.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount, Spec};
use runtime_spec::default::{Options, default_spec};

use super::child::Child;
use super::container::Container;
use super::parts::{Changes, set_env, set_root, set_terminal};
use super::stdio::{Console, Plan, Stdio};
use crate::{CgroupManager, CreateOptions, Error, Runtime};

/// A container to be made: [`Runtime::container`] begins one, [`Self::create`] or [`Self::run`] makes it.
///
/// What is not said is as in `runc spec`: all namespaces but the user's, `/proc`, `/dev` and `/sys` mounted, masked and read-only where they
/// should be, three capabilities, no new privileges, a read-only root. [`Self::bundle`] and [`Self::spec`] take another start; the
/// parts ([`Self::args`], [`Self::mount`]...) and [`Self::edit`] change it, in their order, wherever it came from. Standard streams and
/// terminal are the builder's alone: `process.terminal` is set by what it was told.
#[derive(Debug)]
#[must_use = "nothing is made before `create` or `run`"]
pub struct ContainerBuilder {
    runtime: Runtime,
    id: String,
    bundle: Option<PathBuf>,
    spec: Option<Spec>,
    changes: Changes,
    streams: Plan,
    options: CreateOptions,
}

impl ContainerBuilder {
    pub(crate) fn new(runtime: Runtime, id: String) -> Self {
        Self {
            runtime,
            id,
            bundle: None,
            spec: None,
            changes: Changes::default(),
            streams: Plan::default(),
            options: CreateOptions::default(),
        }
    }

    /// Starts from the bundle in this directory: its `config.json`, unless [`Self::spec`] is given too, and relative paths from here.
    pub fn bundle(mut self, path: impl Into<PathBuf>) -> Self {
        self.bundle = Some(path.into());
        self
    }

    /// Starts from this configuration. Nothing is written to a file.
    pub fn spec(mut self, spec: Spec) -> Self {
        self.spec = Some(spec);
        self
    }

    /// Changes whatever the other methods have no word for.
    pub fn edit(mut self, change: impl FnOnce(&mut Spec) + Send + Sync + 'static) -> Self {
        self.changes.push(change);
        self
    }

    /// The directory that becomes the container's root: an absolute path, or one from the bundle.
    pub fn rootfs(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.changes.push(move |spec| set_root(spec, &path));
        self
    }

    /// Whether the root can be written.
    pub fn writable_rootfs(self, writable: bool) -> Self {
        self.edit(move |spec| {
            let mut root = spec.root().clone().unwrap_or_default();
            root.set_readonly(Some(!writable));
            spec.set_root(Some(root));
        })
    }

    /// The program and its arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        self.changes.process(|process| {
            process.set_args(Some(args));
        });
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.changes.process(move |process| set_env(process, &name, &value));
        self
    }

    /// The working directory, an absolute path in the container.
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.changes.process(|process| {
            process.set_cwd(path);
        });
        self
    }

    /// The user and group, by number.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.changes.process(move |process| {
            let mut user = process.user().clone();
            user.set_uid(uid).set_gid(gid);
            process.set_user(user);
        });
        self
    }

    /// The host name.
    pub fn hostname(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.edit(|spec| {
            spec.set_hostname(Some(name));
        })
    }

    /// A further mount, after the others.
    pub fn mount(self, mount: Mount) -> Self {
        self.edit(|spec| {
            let mut mounts = spec.mounts().clone().unwrap_or_default();
            mounts.push(mount);
            spec.set_mounts(Some(mounts));
        })
    }

    /// A directory or file of the host, seen at `destination`.
    pub fn bind(self, source: impl Into<PathBuf>, destination: impl Into<PathBuf>, read_only: bool) -> Self {
        let mut mount = Mount::default();
        let access = if read_only { "ro" } else { "rw" };
        mount
            .set_source(Some(source.into()))
            .set_destination(destination.into())
            .set_typ(Some("bind".into()))
            .set_options(Some(vec!["rbind".into(), access.into()]));
        self.mount(mount)
    }

    /// The cgroup's limits (runtime-spec, "linux.resources"), in the place of the configuration's.
    pub fn resources(self, resources: LinuxResources) -> Self {
        self.edit(|spec| {
            let mut linux = spec.linux().clone().unwrap_or_default();
            linux.set_resources(Some(resources));
            spec.set_linux(Some(linux));
        })
    }

    /// The cgroup (runtime-spec, "linux.cgroupsPath"): absolute from the mount, else beneath this program's own.
    pub fn cgroups_path(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.edit(|spec| {
            let mut linux = spec.linux().clone().unwrap_or_default();
            linux.set_cgroups_path(Some(path));
            spec.set_linux(Some(linux));
        })
    }

    /// An annotation: told by [`Container::state`] and to hooks.
    pub fn annotation(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.edit(|spec| {
            let mut annotations = spec.annotations().clone().unwrap_or_default();
            annotations.insert(name, value);
            spec.set_annotations(Some(annotations));
        })
    }

    /// Where the standard input comes from.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().0 = stdio.into();
        self
    }

    /// Where the standard output goes.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().1 = stdio.into();
        self
    }

    /// Where the standard error goes.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        *self.streams.streams().2 = stdio.into();
        self
    }

    /// A pseudo terminal of so many rows and columns for all three: [`Child::terminal`].
    pub fn terminal(mut self, rows: u16, columns: u16) -> Self {
        self.streams.console = Some(Console::Here(rows, columns));
        self
    }

    /// A pseudo terminal whose master is sent to the unix socket at `path` (`SCM_RIGHTS`).
    pub fn console_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.streams.console = Some(Console::Socket(path.into()));
        self
    }

    /// How many of the caller's descriptors, from 3 on, the process gets.
    pub fn preserve_fds(mut self, number: u32) -> Self {
        self.options.preserve_fds = number;
        self
    }

    /// Who makes and limits the cgroup.
    pub fn cgroup_manager(mut self, manager: CgroupManager) -> Self {
        self.options.cgroup_manager = manager;
        self
    }

    /// Use `MS_MOVE` and `chroot` in place of `pivot_root`, on hosts that run from an initramfs.
    pub fn no_pivot(mut self, no_pivot: bool) -> Self {
        self.options.no_pivot = no_pivot;
        self
    }

    /// Makes the container, up to the point where its program would be executed. No program is executed on the way, in this
    /// process or another.
    ///
    /// # Errors
    /// [`Error::Exists`] for a taken id, [`Error::Config`] for a field that cannot be honoured, [`Error::Process`] for what failed inside;
    /// nothing is left behind.
    pub fn create(mut self) -> Result<(Container, Child), Error> {
        let bundle = self.bundle.as_ref();
        let (mut spec, warnings) = match (self.spec, bundle) {
            (Some(spec), _) => (spec, Vec::new()),
            (None, Some(bundle)) => crate::load_spec_with_warnings(bundle)?,
            (None, None) => {
                let spec = default_spec(Options::default());
                (
                    spec.map_err(|error| Error::config("default", error.to_string()))?,
                    Vec::new(),
                )
            }
        };
        let streams = self.streams;
        self.changes.apply(&mut spec);
        let mut process = spec.process().clone().unwrap_or_default();
        set_terminal(&mut process, streams.console.as_ref());
        spec.set_process(Some(process));
        let near_root = || {
            let root = spec.root().as_ref().map(|root| root.path().as_path());
            root.filter(|path| path.is_absolute()).and_then(Path::parent)
        };
        let directory = self.bundle.or_else(|| near_root().map(PathBuf::from));
        self.options.bundle = directory.unwrap_or_else(|| PathBuf::from("/"));
        self.options.spec = Some(spec);
        let (io, ends) = streams.open()?;
        self.options.io = io;
        let mut created = self.runtime.create(&self.id, self.options)?;
        created.warnings.splice(0..0, warnings);
        let child = Child::new(&self.id, created, ends)?;
        Ok((Container::new(self.runtime, self.id), child))
    }

    /// [`Self::create`] and [`Container::start`].
    ///
    /// # Errors
    /// Of both; nothing is left behind.
    pub fn run(self) -> Result<(Container, Child), Error> {
        let (container, mut child) = self.create()?;
        if let Err(error) = container.start() {
            // The error of the start is the one to tell.
            let _ = container.delete_by_force();
            let _ = child.wait();
            return Err(error);
        }
        Ok((container, child))
    }
}
