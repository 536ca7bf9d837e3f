//! `create`: the request judged and filled in, the layer prepared, volumes made, the record written.
//!
//! The record is written first, marked incomplete: whatever a daemon that is killed half-way leaves behind, the next one finds by it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use containerd_proto::containerd::services::snapshots::v1::PrepareSnapshotRequest;

use super::container::Container;
use super::model::{CreateRequest, LogFrom, MountPoint, Record, RunState, VERSION};
use super::streams::Streams;
use super::{Engine, blocking, copy_up, logs, mount_points, names, now, rootfs, validate, volumes};
use crate::config::RUNTIME_OURS;
use crate::error::{Error, ErrorKind, Result};
use crate::images::ResolvedImage;

/// What a create request came to.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) warnings: Vec<String>,
}

impl Engine {
    /// Creates a container.
    ///
    /// # Errors
    /// 404 without the image, 409 with the name taken, 400 for what cannot be.
    pub(crate) async fn create(self: &Arc<Self>, name: Option<&str>, mut request: CreateRequest) -> Result<Created> {
        if request.config.image.is_empty() {
            return Err(Error::invalid("no image specified"));
        }
        if let Some(name) = name {
            names::check(name)?;
        }
        let image = self.images.resolve(&request.config.image).await?;
        validate::merge(&mut request.config, &image.config);
        validate::config(&mut request.config)?;
        let warnings = self.fill_in(&mut request)?;
        let id = names::new_id();
        let name = self.containers.reserve(name, &id)?;
        let outcome = self.create_named(&id, &name, request, &image).await;
        if outcome.is_err() {
            self.containers.remove(&id);
            self.containers.release(&name, &id);
        }
        outcome.map(|()| Created { id, warnings })
    }

    /// What of the host's part is left to the daemon.
    fn fill_in(&self, request: &mut CreateRequest) -> Result<Vec<String>> {
        let host_config = &mut request.host_config;
        if host_config.log_config.kind.is_empty() {
            host_config.log_config.kind.clone_from(&self.config.flags.log_driver);
            for option in &self.config.flags.log_opt {
                if let Some((key, value)) = option.split_once('=') {
                    host_config
                        .log_config
                        .config
                        .entry(key.to_owned())
                        .or_insert_with(|| value.to_owned());
                }
            }
        }
        if host_config.shm_size == 0
            && let Some(text) = &self.config.flags.default_shm_size
        {
            let bytes = logs::parse_size(text).and_then(|bytes| i64::try_from(bytes).ok());
            host_config.shm_size = bytes.ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?;
        }
        let warnings = validate::host_config(host_config, &self.host)?;
        if host_config.runtime.is_empty() {
            host_config.runtime.clone_from(&self.config.default_runtime);
        }
        if !self.config.runtimes.contains_key(&host_config.runtime) {
            return Err(Error::invalid(format!(
                "unknown or invalid runtime name: {}",
                host_config.runtime
            )));
        }
        if matches!(host_config.network_mode.as_str(), "" | "default") {
            "bridge".clone_into(&mut host_config.network_mode);
        }
        if host_config.restart_policy.name.is_empty() {
            "no".clone_into(&mut host_config.restart_policy.name);
        }
        if host_config.ipc_mode.is_empty() {
            "private".clone_into(&mut host_config.ipc_mode);
        }
        if host_config.cgroupns_mode.is_empty() {
            let private = self.host.cgroup2 && !host_config.privileged;
            if private { "private" } else { "host" }.clone_into(&mut host_config.cgroupns_mode);
        }
        if host_config.masked_paths.is_none() && !host_config.privileged {
            host_config.masked_paths = Some(runtime_spec::engine::MASKED_PATHS.map(str::to_owned).to_vec());
            host_config.readonly_paths = Some(runtime_spec::engine::READONLY_PATHS.map(str::to_owned).to_vec());
        }
        Ok(warnings)
    }

    async fn create_named(
        self: &Arc<Self>,
        id: &str,
        name: &str,
        request: CreateRequest,
        image: &ResolvedImage,
    ) -> Result<()> {
        let (record, wanted) = self.new_record(id, name, request, image)?;
        self.store.make_directory(id)?;
        let container = Container::new(record, Streams::new(self.run_directory(id)), Arc::clone(&self.store));
        let outcome = self.build(&container, wanted, image).await;
        if let Err(error) = outcome {
            self.unbuild(&container).await;
            return Err(error);
        }
        self.containers.add(Arc::clone(&container));
        self.container_event("create", &container.record(), &[]);
        Ok(())
    }

    fn new_record(
        &self,
        id: &str,
        name: &str,
        request: CreateRequest,
        image: &ResolvedImage,
    ) -> Result<(Record, Vec<mount_points::Wanted>)> {
        let CreateRequest {
            mut config,
            host_config,
            networking_config,
        } = request;
        let (path, args) = validate::command(&config)?;
        if config.hostname.is_empty() && host_config.uts_mode != "host" && host_config.network_mode != "host" {
            config.hostname = id[..12].to_owned();
        } else if config.hostname.is_empty() {
            config.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        let environment = config.env.clone().unwrap_or_default();
        if host_config.log_config.kind == "json-file" {
            logs::LogOptions::parse(&host_config.log_config.config, &config.labels, &environment)?;
        }
        let inherited = self.inherited(host_config.volumes_from.as_deref().unwrap_or_default())?;
        let wanted = mount_points::wanted(&config, &host_config, inherited)?;
        let log = match (host_config.log_config.kind.as_str(), self.is_ours(&host_config.runtime)) {
            ("none", _) => LogFrom::Nobody,
            (_, true) => LogFrom::Shim,
            (_, false) => LogFrom::Daemon,
        };
        let record = Record {
            version: VERSION,
            id: id.to_owned(),
            name: name.to_owned(),
            created: now(),
            path,
            args,
            image_id: image.id.clone(),
            platform: "linux".to_owned(),
            networks: networking_config.endpoints_config,
            config,
            host_config,
            mounts: Vec::new(),
            endpoints: Vec::new(),
            log,
            state: RunState::default(),
            restart_count: 0,
            stopped_by_user: false,
            complete: false,
            started_once: false,
        };
        super::ports::bindings(&record)?;
        Ok((record, wanted))
    }

    /// Whether a runtime's shim is ours, which writes logs itself.
    pub(crate) fn is_ours(&self, runtime: &str) -> bool {
        let ours = self
            .config
            .runtimes
            .get(RUNTIME_OURS)
            .map(|runtime| runtime.shim.as_str());
        self.config.runtimes.get(runtime).map(|runtime| runtime.shim.as_str()) == ours
    }

    async fn build(
        self: &Arc<Self>,
        container: &Arc<Container>,
        wanted: Vec<mount_points::Wanted>,
        image: &ResolvedImage,
    ) -> Result<()> {
        container.change(|_| {})?;
        let mounts = self.prepare_snapshot(&container.id, image).await?;
        let copies_up = wanted.iter().any(|wanted| wanted.point.copy_up);
        let copies = if copies_up { mounts } else { Vec::new() };
        let points = {
            let (engine, id) = (Arc::clone(self), container.id.clone());
            blocking(move || engine.make_volumes(&id, wanted, &copies)).await?
        };
        container.change(|record| {
            record.mounts = points;
            record.complete = true;
        })?;
        Ok(())
    }

    async fn prepare_snapshot(
        &self,
        id: &str,
        image: &ResolvedImage,
    ) -> Result<Vec<containerd_proto::containerd::types::Mount>> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.l3.snapshotter().to_owned(),
            key: id.to_owned(),
            parent: image.chain_id.clone(),
            // Kept by this label until it is removed: the container record of the layer below exists only while it runs.
            labels: [("containerd.io/gc.root".to_owned(), now())].into_iter().collect(),
        };
        let prepared = self.l3.snapshots().prepare(request).await;
        prepared
            .map(|answer| answer.into_inner().mounts)
            .map_err(|status| Error::from(status).context("failed to prepare the container's layer"))
    }

    /// Mount points of `--volumes-from`: `NAME[:ro|rw]`.
    fn inherited(&self, from: &[String]) -> Result<Vec<MountPoint>> {
        let mut all = Vec::new();
        for text in from {
            let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
            if !matches!(mode, "ro" | "rw" | "z" | "Z") {
                return Err(Error::invalid(format!("invalid mode for volumes-from: {mode}")));
            }
            let record = self.container(name)?.record();
            all.extend(
                record
                    .mounts
                    .iter()
                    .filter(|point| point.kind != "tmpfs")
                    .map(|point| MountPoint {
                        rw: point.rw && mode != "ro",
                        anonymous: false,
                        copy_up: false,
                        ..point.clone()
                    }),
            );
        }
        Ok(all)
    }

    /// Makes the volumes that are wanted, and fills new ones from the image.
    fn make_volumes(
        &self,
        id: &str,
        wanted: Vec<mount_points::Wanted>,
        mounts: &[containerd_proto::containerd::types::Mount],
    ) -> Result<Vec<MountPoint>> {
        let mut root = None;
        let mut points = Vec::new();
        for mount_points::Wanted { mut point, labels } in wanted {
            if point.kind == "volume" {
                let name = (!point.name.is_empty()).then_some(point.name.as_str());
                let (volume, made) = self.volumes.create(name, &point.driver, labels, BTreeMap::new())?;
                if made {
                    self.events
                        .emit("volume", "create", &volume.name, [("driver", "local")]);
                }
                point.name = volume.name;
                point.source = self.volumes.data(&point.name);
                if point.copy_up && rootfs::is_empty(&point.source) {
                    if root.is_none() {
                        root = Some(rootfs::Root::of_mounts(mounts, &self.run_directory(id).join("rootfs"))?);
                    }
                    if let Some(from) = root.as_ref().and_then(|root| root.directory(&point.destination)) {
                        let to = rootfs::own_directory(&point.source)?;
                        copy_up::copy_up(from.as_fd(), to.as_fd()).map_err(|e| {
                            Error::failed(
                                format!("copy the image's {} to volume {}", point.destination, point.name),
                                e,
                            )
                        })?;
                    }
                }
            }
            points.push(point);
        }
        Ok(points)
    }

    /// Takes away what a create that failed has made; also at the next start of the daemon.
    pub(crate) async fn unbuild(&self, container: &Container) {
        let record = container.record();
        for point in record.mounts.iter().filter(|point| point.anonymous) {
            if let Err(error) = self.volumes.remove(&point.name)
                && error.kind != ErrorKind::NotFound
            {
                tracing::warn!(container = %container.id, %error, "volume left");
            }
        }
        if let Err(error) = self.remove_snapshot(&container.id).await {
            tracing::warn!(container = %container.id, %error, "layer left");
        }
        let _ = std::fs::remove_dir_all(self.run_directory(&container.id));
        if let Err(error) = self.store.remove(&container.id) {
            tracing::warn!(container = %container.id, %error, "record left");
        }
    }
}

/// Where the volume of a mount point really is mounted from.
///
/// # Errors
/// A source that is gone, or a subpath that leads out of the volume.
pub(crate) fn source(volumes: &volumes::Volumes, point: &MountPoint) -> Result<std::path::PathBuf> {
    if point.kind == "volume" {
        let data = volumes.data(&point.name);
        if point.subpath.is_empty() {
            std::fs::create_dir_all(&data).map_err(|e| Error::failed(format!("mkdir {}", data.display()), e))?;
            return Ok(data);
        }
        return subpath(&data, &point.subpath);
    }
    if point.make_source && !point.source.exists() {
        std::fs::create_dir_all(&point.source).map_err(|e| {
            Error::failed(
                format!(
                    "error while creating mount source path '{}': mkdir {}",
                    point.source.display(),
                    point.source.display()
                ),
                e,
            )
        })?;
    } else if !point.source.exists() {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            point.source.display()
        )));
    }
    Ok(point.source.clone())
}

fn subpath(data: &std::path::Path, subpath: &str) -> Result<std::path::PathBuf> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let failed =
        |e: rustix::io::Errno| Error::invalid(format!("cannot access path {}: {e}", data.join(subpath).display()));
    let root = openat(
        CWD,
        data,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(&root, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags).map_err(failed)?;
    Ok(data.join(subpath))
}
