//! The daemon's state and its operations.
//!
//! - `model`, `store`, `container`, `registry`: what a container is, in memory and on disk
//! - `create`, `start`, `exit`, `control`, `remove`, `exec`, `restore`: what is done with containers, one module for each operation
//! - `spec`: configuration to OCI runtime spec, pure; `validate`, `mount_points`, `ports`, `signal`: the request's words
//! - `streams`, `logs`: output on its way to clients and logs
//! - `network`, `volumes`: what a container is attached to
//! - `list`, `inspect`, `stats`, `top`: looking, which never waits for an operation

pub(crate) mod attach;
pub(crate) mod container;
mod control;
mod copy_up;
mod create;
pub mod events;
pub(crate) mod exec;
mod exit;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod model;
mod mount_points;
mod names;
mod network;
mod ports;
mod registry;
mod remove;
mod restore;
mod rootfs;
pub(crate) mod signal;
pub(crate) mod spec;
mod start;
pub(crate) mod stats;
mod store;
pub(crate) mod streams;
mod task;
mod top;
mod update;
mod users;
mod validate;
pub(crate) mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use containerd_rs_registry::Registry as RegistryClient;
use dockerd_rs_network::Controller;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::images::ImageService;
use crate::l3::L3;

use container::Container;
pub use events::EventBus;
use model::Ulimit;
use registry::Registry;
pub(crate) use remove::Options as RemoveOptions;
use spec::Host;
use store::Store;
pub(crate) use update::UpdateRequest;
use volumes::Volumes;

/// All that the routes share.
#[derive(Debug)]
pub struct Engine {
    /// The settings.
    pub config: Config,
    /// The layer below.
    pub l3: L3,
    /// Images.
    pub images: ImageService,
    /// What happened, for `GET /events`.
    pub events: Arc<EventBus>,
    /// The daemon's own id, for `info`.
    pub id: String,
    pub(crate) containers: Registry,
    pub(crate) volumes: Volumes,
    pub(crate) network: Arc<Controller>,
    pub(crate) host: Host,
    store: Arc<Store>,
    users: users::Cache,
    default_ulimits: Vec<Ulimit>,
}

impl Engine {
    /// Puts the parts together, and takes up what a daemon before left running.
    ///
    /// # Errors
    /// What keeps the state from being opened.
    pub async fn open(config: Config, l3: L3) -> Result<Arc<Self>> {
        let events = Arc::new(EventBus::default());
        let registry = registry(&config)?;
        let network = network::open(&config)?;
        let engine = Arc::new(Self {
            images: ImageService::new(l3.clone(), registry, events.clone()),
            containers: Registry::default(),
            volumes: Volumes::open(&config.data_root)?,
            store: Arc::new(Store::open(&config.data_root)?),
            network: Arc::new(network),
            host: Host::look(),
            users: users::Cache::default(),
            default_ulimits: config
                .flags
                .default_ulimit
                .iter()
                .map(|text| update::parse_ulimit(text))
                .collect::<Result<_>>()?,
            id: own_id(&config)?,
            events,
            config,
            l3,
        });
        let users = Arc::downgrade(&engine);
        engine
            .images
            .set_users(move || users.upgrade().map_or_else(Vec::new, |engine| engine.image_users()));
        engine.make_namespace().await?;
        engine.images.sweep_later().await?;
        exit::watch(&engine).await?;
        engine.restore().await?;
        Ok(engine)
    }

    /// The container of this id, name, or unambiguous prefix of an id.
    ///
    /// # Errors
    /// 404 `No such container: x`.
    pub(crate) fn container(&self, what: &str) -> Result<Arc<Container>> {
        self.containers.get(what)
    }

    /// The state of every container, in the API's words.
    pub fn statuses(&self) -> Vec<&'static str> {
        self.containers
            .all()
            .iter()
            .map(|container| container.record().state.status.word())
            .collect()
    }

    /// Which containers need which images.
    pub fn image_users(&self) -> Vec<crate::images::ImageUser> {
        let user = |container: Arc<Container>| {
            let record = container.record();
            crate::images::ImageUser {
                container: record.id.clone(),
                image: record.image_id.clone(),
                running: record.state.is_running(),
            }
        };
        self.containers.all().into_iter().map(user).collect()
    }

    /// A directory for the files of one run.
    fn run_directory(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("containers").join(id)
    }

    async fn make_namespace(&self) -> Result<()> {
        use containerd_proto::containerd::services::namespaces::v1::{CreateNamespaceRequest, Namespace};
        let namespace = Namespace {
            name: self.config.namespace.clone(),
            ..Namespace::default()
        };
        match self
            .l3
            .namespaces()
            .create(CreateNamespaceRequest {
                namespace: Some(namespace),
            })
            .await
        {
            Err(status) if status.code() != tonic::Code::AlreadyExists => Err(status.into()),
            _ => Ok(()),
        }
    }

    /// Something happened to a container.
    pub(crate) fn container_event(&self, action: &str, record: &model::Record, more: &[(&str, String)]) {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.emit("container", action, &record.id, attributes);
    }
}

/// The id of this daemon, made at its first start.
fn own_id(config: &Config) -> Result<String> {
    let path = config.data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let random = names::new_id();
    let id = format!(
        "{}-{}-{}-{}-{}",
        &random[..8],
        &random[8..12],
        &random[12..16],
        &random[16..20],
        &random[20..32]
    );
    std::fs::write(&path, &id).map_err(|e| Error::failed(format!("write {}", path.display()), e))?;
    Ok(id)
}

/// The registry client, with the rules of the settings.
fn registry(config: &Config) -> Result<RegistryClient> {
    let rules = containerd_rs_registry::Config {
        insecure: config.flags.insecure_registry.clone(),
        mirrors: config.flags.registry_mirror.clone(),
        user_agent: concat!("docker/", env!("CARGO_PKG_VERSION"), " dockerd-rs").to_owned(),
        ..containerd_rs_registry::Config::default()
    };
    RegistryClient::new(&rules).map_err(|e| Error::invalid(e.to_string()))
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::failed("a worker thread", e))?
}

/// Now, as the API writes it.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
