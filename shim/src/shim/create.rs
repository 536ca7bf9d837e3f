//! Create: the bundle's files, the root filesystem, the streams, the runtime; all of it undone if one fails.

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use containerd_proto::containerd::events::{TaskCreate, TaskIo};
use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::task::v3::CreateTaskRequest;
use prost_types::Any;

use super::{Shim, failed};
use crate::bundle::Bundle;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::mounts::{self, Plan};
use crate::oom::OomWatch;
use crate::process::Process;
use crate::reaper::Reaper;
use crate::runtime::{self, OciRuntime, Spawned};
use crate::stdio::{Owner, Prepared, StdioRequest};
use crate::{bootstrap, cgroup};

/// What the blocking part of Create needs.
struct Job {
    id: String,
    namespace: String,
    bundle: Bundle,
    options: Options,
    stdio: StdioRequest,
    mounts: Vec<Plan>,
    runtime: Arc<dyn OciRuntime>,
    reaper: Arc<Reaper>,
}

impl Shim {
    /// Creates a container; returns the id of its first process.
    ///
    /// # Errors
    /// Any step; nothing is left of it.
    pub(crate) async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<u32> {
        if self.lock().contains_key(&request.id) {
            return Err(Error::Exists(format!("container {}", request.id)));
        }
        if !request.checkpoint.is_empty() {
            return Err(Error::Unimplemented("restore from a checkpoint".to_owned()));
        }
        let id = request.id.clone();
        self.lock().insert(id.clone(), None);
        let created = self.create_reserved(request).await;
        if created.is_err() {
            self.lock().remove(&id);
        }
        self.idle.worked();
        created
    }

    async fn create_reserved(self: &Arc<Self>, request: CreateTaskRequest) -> Result<u32> {
        let bundle = Bundle::new(&request.bundle);
        let options = options(request.options.as_ref());
        let runtime = runtime::select(&options, &self.namespace, bundle.path());
        let stdio = StdioRequest {
            terminal: request.terminal,
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
        };
        let job = Job {
            id: request.id.clone(),
            namespace: self.namespace.clone(),
            bundle: bundle.clone(),
            options: options.clone(),
            stdio: stdio.clone(),
            mounts: mounts::plan(&request.rootfs)?,
            runtime: Arc::clone(&runtime),
            reaper: Arc::clone(&self.reaper),
        };
        // Held until the new process is watched: its exit, however early, is not taken for an orphan's.
        let hold = self.reaper.hold();
        let done = tokio::task::spawn_blocking(move || job.run()).await;
        let (prepared, spawned) = done.map_err(|e| Error::State(e.to_string()))??;
        let watched = self.reaper.watch(spawned.pid);
        drop(hold);

        let init = Arc::new(Process::new(String::new(), stdio, Vec::new()));
        let flowing = watched.and_then(|exit| Ok((exit, prepared.start(spawned.console)?)));
        let exit = match flowing {
            Ok((exit, streams)) => {
                init.made(spawned.pid, streams);
                exit
            }
            Err(error) => {
                self.abandon(&request.id, &bundle, &runtime).await;
                return Err(error);
            }
        };
        let gate = Arc::clone(&init);
        let _gate = gate.gate.lock().await;
        let mut container = Container::new(request.id.clone(), bundle, runtime, options, Arc::clone(&init));
        container.shares_pids = container.bundle.shares_pid_namespace().unwrap_or(false);
        match cgroup::of(spawned.pid) {
            Ok(cgroup) => {
                match OomWatch::new(&request.id, &cgroup, &self.events) {
                    Ok(watch) => container.oom = Some(watch),
                    Err(error) => tracing::debug!(id = request.id, %error, "add cg to OOM monitor"),
                }
                container.cgroup = Some(cgroup);
            }
            // It may have ended already.
            Err(error) => tracing::debug!(id = request.id, %error, "loading cgroup"),
        }
        let container = Arc::new(container);
        self.lock().insert(request.id.clone(), Some(Arc::clone(&container)));
        self.events
            .publish("/tasks/create", &created_event(request, init.wire_pid()));
        tokio::spawn(Arc::clone(self).watch_exit(container, Arc::clone(&init), exit));
        Ok(init.wire_pid())
    }

    /// Removes a container that was created but cannot be kept.
    async fn abandon(&self, id: &str, bundle: &Bundle, runtime: &Arc<dyn OciRuntime>) {
        let (id, rootfs) = (id.to_owned(), bundle.rootfs());
        let removed = self
            .call(runtime, move |runtime| {
                let removed = runtime.delete(&id, true);
                if let Err(error) = mounts::unmount(&rootfs) {
                    tracing::warn!(%error, "failed to cleanup rootfs mount");
                }
                removed
            })
            .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "failed to remove a container that was not finished");
        }
    }
}

impl Job {
    fn run(self) -> Result<(Prepared, Spawned)> {
        self.bundle.write_options(&self.options)?;
        let rootfs = self.bundle.rootfs();
        if !self.mounts.is_empty() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&rootfs);
            made.map_err(Error::file("mkdir", &rootfs))?;
        }
        mounts::make(&self.mounts, &rootfs)?;
        let created = self.create();
        if created.is_err()
            && !self.mounts.is_empty()
            && let Err(error) = mounts::unmount(&rootfs)
        {
            tracing::warn!(id = self.id, %error, "failed to cleanup rootfs mount");
        }
        created
    }

    fn create(&self) -> Result<(Prepared, Spawned)> {
        let owner = Owner {
            id: &self.id,
            namespace: &self.namespace,
            uid: self.options.io_uid,
            gid: self.options.io_gid,
            reaper: &self.reaper,
        };
        let (prepared, io) = Prepared::open(&self.stdio, &owner)?;
        let created = self.runtime.create(&self.id, self.bundle.path(), io);
        let spawned = created.map_err(failed("OCI runtime create failed"))?;
        if let Err(error) = self.bundle.write_pid(spawned.pid) {
            // The error at hand is the one to report.
            let _ = self.runtime.delete(&self.id, true);
            return Err(error);
        }
        Ok((prepared, spawned))
    }
}

/// The runc options of a request; another shim's are not for us.
fn options(any: Option<&Any>) -> Options {
    let Some(any) = any.filter(|any| !any.value.is_empty()) else {
        return Options::default();
    };
    bootstrap::options(any).unwrap_or_else(|| {
        tracing::warn!(kind = any.type_url, "runtime options of an unknown type are ignored");
        Options::default()
    })
}

fn created_event(request: CreateTaskRequest, pid: u32) -> TaskCreate {
    TaskCreate {
        container_id: request.id,
        bundle: request.bundle,
        rootfs: request.rootfs,
        io: Some(TaskIo {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        }),
        checkpoint: request.checkpoint,
        pid,
    }
}
