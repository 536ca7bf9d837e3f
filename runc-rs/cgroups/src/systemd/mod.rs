//! The systemd driver: a container is a transient scope, made and limited over D-Bus (systemd: org.freedesktop.systemd1(5),
//! systemd.scope(5), systemd.resource-control(5)).
//!
//! systemd owns the tree, so its word comes first: limits go to it as unit properties, lest it undo them when it next looks. What has
//! no property, or one too coarse, is then written to the scope's directories, which systemd leaves to us (`Delegate=`).

pub mod annotations;
pub mod bus;
mod devices;
pub mod manager;
pub mod names;
pub mod properties;

pub use manager::{Manager, Scope};
pub use names::Unit;
pub use properties::Property;
