//! The layer below, by containerd's gRPC API.
//!
//! One channel carries all clients; every call gets the namespace header, and the lease header where one was asked for. Where the channel
//! leads is decided once, at start: to a socket (`--containerd ADDRESS`), or to an engine in this process.

mod connect;
mod status;

use std::path::PathBuf;

use containerd_grpc::containerd::services::containers::v1::containers_client::ContainersClient;
use containerd_grpc::containerd::services::content::v1::content_client::ContentClient;
use containerd_grpc::containerd::services::diff::v1::diff_client::DiffClient;
use containerd_grpc::containerd::services::events::v1::events_client::EventsClient;
use containerd_grpc::containerd::services::images::v1::images_client::ImagesClient;
use containerd_grpc::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use containerd_grpc::containerd::services::leases::v1::leases_client::LeasesClient;
use containerd_grpc::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use containerd_grpc::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use containerd_grpc::containerd::services::tasks::v1::tasks_client::TasksClient;
use containerd_grpc::containerd::services::version::v1::version_client::VersionClient;
use containerd_grpc::{LEASE_HEADER, NAMESPACE_HEADER};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use status::{code_kind, from_status};

use crate::error::{Error, Result};

/// A channel that adds the headers.
pub type Service = InterceptedService<Channel, Headers>;

/// Largest message taken from the layer below, in bytes: content reads and lists are the big ones.
const MAX_MESSAGE: usize = 64 << 20;

/// Adds namespace and lease to every call.
#[derive(Debug, Clone)]
pub struct Headers {
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(NAMESPACE_HEADER, self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert(LEASE_HEADER, lease.clone());
        }
        Ok(request)
    }
}

/// Clients of the layer below; cheap to clone.
#[derive(Debug, Clone)]
pub struct L3 {
    channel: Channel,
    headers: Headers,
    snapshotter: String,
    address: Option<PathBuf>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $client<Service> {
            $client::with_interceptor(self.channel.clone(), self.headers.clone()).max_decoding_message_size(MAX_MESSAGE)
        }
    )*};
}

impl L3 {
    /// Clients over a channel, in a namespace.
    ///
    /// # Errors
    /// A namespace that cannot be a header.
    pub fn new(channel: Channel, namespace: &str, address: Option<PathBuf>) -> Result<Self> {
        let namespace = ascii("containerd namespace", namespace)?;
        let headers = Headers { namespace, lease: None };
        Ok(Self {
            channel,
            headers,
            snapshotter: "overlayfs".to_owned(),
            address,
        })
    }

    /// The same clients under a lease: what they create is kept until the lease goes.
    ///
    /// # Errors
    /// A lease id that cannot be a header.
    pub fn with_lease(&self, lease: &str) -> Result<Self> {
        let mut own = self.clone();
        own.headers.lease = Some(ascii("lease id", lease)?);
        Ok(own)
    }

    /// Name of the snapshotter in use.
    pub fn snapshotter(&self) -> &str {
        &self.snapshotter
    }

    /// The socket of the layer below; none when it is in this process.
    pub fn address(&self) -> Option<&PathBuf> {
        self.address.as_ref()
    }

    clients! {
        /// Container records.
        containers: ContainersClient;
        /// Blobs.
        content: ContentClient;
        /// Layers applied and made.
        diff: DiffClient;
        /// The event stream.
        events: EventsClient;
        /// Image names.
        images: ImagesClient;
        /// Plugins, and the server's own id.
        introspection: IntrospectionClient;
        /// Leases.
        leases: LeasesClient;
        /// Namespaces.
        namespaces: NamespacesClient;
        /// Snapshots.
        snapshots: SnapshotsClient;
        /// Tasks.
        tasks: TasksClient;
        /// Version.
        version: VersionClient;
    }
}

fn ascii(what: &str, text: &str) -> Result<MetadataValue<Ascii>> {
    text.parse()
        .map_err(|_| Error::invalid(format!("{what} {text:?} cannot be sent")))
}
