//! The daemon's state and its operations.

pub mod events;

use std::sync::Arc;

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
    pub events: EventBus,
}

impl Engine {
    /// Puts the parts together.
    ///
    /// # Errors
    /// What keeps the state from being opened.
    pub async fn open(config: Config, l3: L3) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            images: ImageService::new(l3.clone()),
            config,
            l3,
            events: EventBus::default(),
        }))
    }
}
