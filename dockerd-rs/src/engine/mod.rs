//! The daemon's state and its operations.

pub mod events;

use std::sync::Arc;

use containerd_rs_registry::Registry;

use crate::config::Config;
use crate::error::Result;
use crate::images::ImageService;
use crate::l3::L3;

pub use events::EventBus;

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
}

impl Engine {
    /// Puts the parts together.
    ///
    /// # Errors
    /// What keeps the state from being opened.
    pub async fn open(config: Config, l3: L3) -> Result<Arc<Self>> {
        let events = Arc::new(EventBus::default());
        let registry = registry(&config)?;
        Ok(Arc::new(Self {
            images: ImageService::new(l3.clone(), registry, events.clone()),
            config,
            l3,
            events,
        }))
    }
}

/// The registry client, with the rules of the settings.
fn registry(config: &Config) -> Result<Registry> {
    let rules = containerd_rs_registry::Config {
        insecure: config.flags.insecure_registry.clone(),
        mirrors: config.flags.registry_mirror.clone(),
        user_agent: concat!("docker/", env!("CARGO_PKG_VERSION"), " dockerd-rs").to_owned(),
        ..containerd_rs_registry::Config::default()
    };
    Registry::new(&rules).map_err(|e| crate::Error::invalid(e.to_string()))
}
