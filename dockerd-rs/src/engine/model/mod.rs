//! What the API's words mean to us: a container's configuration as clients send it and inspect shows it, and the record we keep of it.

mod config;
mod host;
mod record;

pub(crate) use config::{ContainerConfig, CreateRequest, EndpointSettings};
pub(crate) use host::{HostConfig, Mount, PortBinding, Resources, RestartPolicy, Ulimit};
pub(crate) use record::{LogFrom, MountPoint, Record, RunState, Status, VERSION, ZERO_TIME};
