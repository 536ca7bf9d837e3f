//! `start`: network and user are looked after side by side, then record, task, go.

use std::path::Path;
use std::sync::Arc;

use containerd_proto::containerd::types::Mount;

use super::container::Container;
use super::model::{LogFrom, Record, Status};
use super::network::{self, Attached};
use super::spec::{self, Bind, GivenDevice, Input, Namespace, User};
use super::streams::Wiring;
use super::task::Stdio;
use super::{Engine, blocking, create, logs, now, rootfs, users};
use crate::error::{Error, ErrorKind, Result};

/// Parent of containers' control groups.
const CGROUP_PARENT: &str = "/docker";

impl Engine {
    /// Starts a container.
    ///
    /// # Errors
    /// 304 when it runs; 400 when its program cannot be run, with the runtime's words.
    pub(crate) async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let turn = container.turn.lock().await;
        let record = container.record();
        match record.state.status {
            Status::Paused => return Err(Error::conflict("cannot start a paused container, try unpause instead")),
            Status::Running | Status::Restarting => return Err(Error::not_modified()),
            Status::Removing | Status::Dead => {
                return Err(Error::conflict("container is marked for removal and cannot be started"));
            }
            Status::Created | Status::Exited => {}
        }
        if record.stopped_by_user || record.restart_count != 0 {
            container.change_anyway(|record| (record.stopped_by_user, record.restart_count) = (false, 0));
        }
        let outcome = self.start_in_turn(container).await;
        drop(turn);
        if outcome.is_err() && record.host_config.auto_remove {
            let removed = self
                .remove(
                    container,
                    super::remove::Options {
                        force: true,
                        volumes: true,
                    },
                )
                .await;
            if let Err(error) = removed {
                tracing::warn!(container = %container.id, %error, "not removed");
            }
        }
        outcome
    }

    /// Starts it; the caller has its turn. On failure nothing is left of the run, and the record says why.
    pub(crate) async fn start_in_turn(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let record = container.record();
        let outcome = self.run(container, &record).await;
        if let Err(error) = &outcome {
            self.clean_up(container, &record).await;
            let exit_code = start_exit_code(&error.message);
            container.change_anyway(|record| {
                record.state.error.clone_from(&error.message);
                record.state.exit_code = exit_code;
                record.state.pid = 0;
                record.endpoints.clear();
                if record.started_once {
                    record.state.status = Status::Exited;
                }
            });
            container.life.send_modify(|life| {
                (life.running, life.exit_code) = (false, exit_code);
                life.exits += 1;
            });
        }
        outcome.map_err(|error| match start_exit_code(&error.message) {
            126 | 127 if error.kind == ErrorKind::Internal => Error::invalid(error.message),
            _ => error,
        })
    }

    async fn run(self: &Arc<Self>, container: &Arc<Container>, record: &Arc<Record>) -> Result<()> {
        let (attached, inside) = tokio::join!(self.network_up(record), self.look_inside(record));
        let (attached, (mounts, user)) = (attached?, inside?);
        let endpoints = attached.endpoints.clone();
        let spec = {
            let (engine, container, record) = (Arc::clone(self), Arc::clone(container), Arc::clone(record));
            blocking(move || engine.spec(&container, &record, attached, &user)).await?
        };
        let stdio = self.open_streams(container, record)?;
        self.create_lower(record, &spec).await?;
        let pid = self.create_task(record, mounts, &stdio).await?;
        // Before the program runs, so that its exit, which may come at once, finds a container that is running.
        let record = container.change(|record| {
            let state = &mut record.state;
            (state.status, state.pid, state.exit_code, state.oom_killed) = (Status::Running, pid, 0, false);
            state.error.clear();
            state.started_at = now();
            record.started_once = true;
            record.endpoints = endpoints;
        })?;
        container.life.send_modify(|life| life.running = true);
        self.start_task(&container.id, "")
            .await
            .map_err(|error| error.context("failed to start task for container"))?;
        self.container_event("start", &record, &[]);
        tracing::info!(container = %container.id, pid, "started");
        Ok(())
    }

    /// The layer's mounts, and who the process is.
    async fn look_inside(self: &Arc<Self>, record: &Arc<Record>) -> Result<(Vec<Mount>, User)> {
        let mounts = self.snapshot_mounts(&record.id).await?;
        let key = users::key(&record.config, &record.host_config);
        if !record.started_once
            && let Some(user) = self.users.get(&record.image_id, &key)
        {
            return Ok((mounts, user));
        }
        let (record, place, copy) = (
            Arc::clone(record),
            self.run_directory(&record.id).join("rootfs"),
            mounts.clone(),
        );
        let fresh = !record.started_once;
        let image = record.image_id.clone();
        let user = blocking(move || {
            let root = rootfs::Root::of_mounts(&copy, &place)?;
            users::resolve(
                &root,
                &record.config.user,
                record.host_config.group_add.as_deref().unwrap_or_default(),
            )
        })
        .await?;
        if fresh {
            self.users.put(&image, &key, user.clone());
        }
        Ok((mounts, user))
    }

    /// Everything that is looked up for the spec, and the spec.
    fn spec(
        &self,
        container: &Container,
        record: &Record,
        attached: Attached,
        user: &User,
    ) -> Result<serde_json::Value> {
        self.write_network_files(container, record, &attached.endpoints)?;
        let directory = self.store.directory(&container.id);
        let mut binds = Vec::new();
        for point in record.mounts.iter().filter(|point| point.kind != "tmpfs") {
            binds.push(Bind {
                source: create::source(&self.volumes, point)?,
                destination: point.destination.clone(),
                rw: point.rw,
                propagation: point.propagation.clone(),
                non_recursive: point.non_recursive,
            });
        }
        for (source, destination) in network::files(&directory) {
            if !binds.iter().any(|bind| bind.destination == destination) {
                let destination = destination.to_owned();
                binds.push(Bind {
                    source,
                    destination,
                    rw: true,
                    propagation: String::new(),
                    non_recursive: true,
                });
            }
        }
        let init = (record.host_config.init == Some(true)).then(init_program).transpose()?;
        if let Some(program) = &init {
            let source = program.into();
            binds.push(Bind {
                source,
                destination: "/sbin/docker-init".to_owned(),
                rw: false,
                propagation: String::new(),
                non_recursive: true,
            });
        }
        let devices = devices(record)?;
        let flags = &self.config.flags;
        let parent = Some(record.host_config.resources.cgroup_parent.as_str()).filter(|parent| !parent.is_empty());
        spec::generate(&Input {
            record,
            host: &self.host,
            user,
            network: attached.namespace,
            pid: self.namespace(&record.host_config.pid_mode, "pid")?,
            ipc: self.namespace(&record.host_config.ipc_mode, "ipc")?,
            uts: if record.host_config.uts_mode == "host" {
                Namespace::Host
            } else {
                Namespace::Own
            },
            cgroup_parent: parent.or(flags.cgroup_parent.as_deref()).unwrap_or(CGROUP_PARENT),
            binds: &binds,
            devices: &devices,
            default_ulimits: &self.default_ulimits,
            init: init.as_deref(),
        })
    }

    fn namespace(&self, mode: &str, kind: &str) -> Result<Namespace> {
        match mode.strip_prefix("container:") {
            Some(name) => {
                let other = self.running(name, &format!("join {} of", kind.to_uppercase()))?;
                Ok(Namespace::Join(format!("/proc/{}/ns/{kind}", other.state.pid).into()))
            }
            None if mode == "host" => Ok(Namespace::Host),
            None => Ok(Namespace::Own),
        }
    }

    /// How the container's streams are wired, and with what words the shim is told so.
    pub(crate) fn wiring(&self, container: &Container, record: &Record) -> Result<Wiring> {
        let log = match record.log {
            LogFrom::Daemon => Some(Arc::new(logs::LogWriter::open(
                &self.log_path(&container.id),
                log_options(record)?,
            )?)),
            LogFrom::Shim | LogFrom::Nobody => None,
        };
        let always = !self.is_ours(&record.host_config.runtime);
        Ok(Wiring {
            tty: record.config.tty,
            stdin: record.config.open_stdin,
            always,
            log,
        })
    }

    fn open_streams(&self, container: &Arc<Container>, record: &Record) -> Result<Stdio> {
        let wiring = self.wiring(container, record)?;
        container.streams.open(wiring.clone())?;
        let out = container.streams.path("out");
        let err = (!wiring.tty).then(|| container.streams.path("err"));
        let stdin = if wiring.stdin {
            container.streams.path("in").display().to_string()
        } else {
            String::new()
        };
        let stdout = match record.log {
            _ if wiring.always => out.display().to_string(),
            LogFrom::Shim => shim_log(
                &self.log_path(&container.id),
                &log_options(record)?,
                &out,
                err.as_deref(),
            )?,
            _ => shim_attach(&out, err.as_deref()),
        };
        let stderr = match err {
            Some(err) if wiring.always => err.display().to_string(),
            _ => String::new(),
        };
        Ok(Stdio {
            stdin,
            stdout,
            stderr,
            tty: wiring.tty,
        })
    }

    /// The file of a container's log.
    pub(crate) fn log_path(&self, id: &str) -> std::path::PathBuf {
        self.store.directory(id).join(format!("{id}-json.log"))
    }

    /// Takes a run away, whatever of it there is: task, streams, record of the layer below, network. Goes on after failures.
    pub(crate) async fn clean_up(self: &Arc<Self>, container: &Arc<Container>, record: &Record) {
        let warn = |what: &str, outcome: Result<()>| {
            if let Err(error) = outcome {
                tracing::warn!(container = %container.id, %error, "{what}");
            }
        };
        let task = async {
            warn("task left", self.delete_task(&container.id).await);
            let ((), lower) = tokio::join!(container.streams.finish(), self.delete_lower(&container.id));
            warn("record of the layer below left", lower);
        };
        tokio::join!(task, self.network_down(record));
    }
}

/// The log's options from a container's configuration.
fn log_options(record: &Record) -> Result<logs::LogOptions> {
    let environment = record.config.env.clone().unwrap_or_default();
    logs::LogOptions::parse(
        &record.host_config.log_config.config,
        &record.config.labels,
        &environment,
    )
}

/// The URI by which our shim writes the log itself (see the shim's documentation of streams).
fn shim_log(path: &Path, options: &logs::LogOptions, out: &Path, err: Option<&Path>) -> Result<String> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(size) = options.max_size {
        query.append_pair("max-size", &size.to_string());
        query.append_pair("max-file", &options.max_file.to_string());
    }
    if !options.attrs.is_empty() {
        let attrs = serde_json::to_string(&options.attrs).map_err(|e| Error::failed("log attributes", e))?;
        query.append_pair("attrs", &attrs);
    }
    Ok(format!(
        "docker-json-file://{}?{}",
        path.display(),
        listeners(query, out, err)
    ))
}

/// The URI by which our shim writes no log, but lets listeners in.
pub(crate) fn shim_attach(out: &Path, err: Option<&Path>) -> String {
    format!(
        "docker-attach:///?{}",
        listeners(url::form_urlencoded::Serializer::new(String::new()), out, err)
    )
}

fn listeners(mut query: url::form_urlencoded::Serializer<'_, String>, out: &Path, err: Option<&Path>) -> String {
    query.append_pair("attach-stdout", &out.display().to_string());
    if let Some(err) = err {
        query.append_pair("attach-stderr", &err.display().to_string());
    }
    query.finish()
}

/// The exit code that a failed start stands for (moby `daemon/start.go`).
pub(crate) fn start_exit_code(message: &str) -> i64 {
    let lower = message.to_lowercase();
    let has = |text: &str| lower.contains(text);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") || has("exec format error") {
        126
    } else {
        128
    }
}

fn devices(record: &Record) -> Result<Vec<GivenDevice>> {
    let host_config = &record.host_config;
    let mut all: Vec<GivenDevice> = Vec::new();
    if host_config.privileged {
        let given = spec::all_devices(Path::new("/dev"))
            .into_iter()
            .map(|device| GivenDevice {
                device,
                access: "rwm".to_owned(),
            });
        all.extend(given);
    }
    for mapping in host_config.resources.devices.iter().flatten() {
        let destination = if mapping.path_in_container.is_empty() {
            &mapping.path_on_host
        } else {
            &mapping.path_in_container
        };
        let access = if mapping.cgroup_permissions.is_empty() {
            "rwm".to_owned()
        } else {
            mapping.cgroup_permissions.clone()
        };
        let source = Path::new(&mapping.path_on_host);
        if source.is_dir() {
            all.extend(spec::all_devices(source).into_iter().map(|mut device| {
                if let Ok(rest) = device.path.strip_prefix(source) {
                    device.path = Path::new(destination).join(rest);
                }
                GivenDevice {
                    device,
                    access: access.clone(),
                }
            }));
        } else {
            all.push(GivenDevice {
                device: spec::device(source, Path::new(destination))?,
                access,
            });
        }
    }
    Ok(all)
}

/// The init program of `--init`.
fn init_program() -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/libexec/docker", "/usr/bin"]);
    let found = places
        .flat_map(|place| ["docker-init", "tini-static"].map(|name| format!("{place}/{name}")))
        .find(|path| Path::new(path).is_file());
    found.ok_or_else(|| Error::internal("exec: \"docker-init\": executable file not found in $PATH"))
}
