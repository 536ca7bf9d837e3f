//! The stores of records: one small role each.

use crate::{Container, Ctx, Envelope, Image, Labels, Lease, Namespace, Resource, Result, Sandbox};

/// Names for content. An image without content behind it is allowed; it keeps what is there from collection.
pub trait ImageStore: Send + Sync {
    /// One by its name.
    ///
    /// # Errors
    /// `NotFound`.
    fn get(&self, ctx: &Ctx, name: &str) -> Result<Image>;
    /// All that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse.
    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Image>>;
    /// Makes one; the times are set here.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument`.
    fn create(&self, ctx: &Ctx, image: Image) -> Result<Image>;
    /// Changes one. Fields: `labels`, `labels.x`, `target`, `annotations`, `annotations.x`; none: labels and target.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument`.
    fn update(&self, ctx: &Ctx, image: Image, fields: &[String]) -> Result<Image>;
    /// Removes one; when a target digest is given, only if it is the target.
    ///
    /// # Errors
    /// `NotFound`, also when the target is another one.
    fn delete(&self, ctx: &Ctx, name: &str, target: Option<&crate::Digest>) -> Result<()>;
}

/// Records of containers.
pub trait ContainerStore: Send + Sync {
    /// One by its id.
    ///
    /// # Errors
    /// `NotFound`.
    fn get(&self, ctx: &Ctx, id: &str) -> Result<Container>;
    /// All that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse.
    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Container>>;
    /// Makes one; the times are set here.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument`.
    fn create(&self, ctx: &Ctx, container: Container) -> Result<Container>;
    /// Changes one. Fields: `labels`, `labels.x`, `spec`, `extensions`, `extensions.x`, `image`, `snapshotkey`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument`, also for changes of runtime and snapshotter.
    fn update(&self, ctx: &Ctx, container: Container, fields: &[String]) -> Result<Container>;
    /// Removes one.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()>;
}

/// Leases and what they hold.
pub trait LeaseStore: Send + Sync {
    /// Makes one.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument` for an empty id.
    fn create(&self, ctx: &Ctx, id: &str, labels: &Labels) -> Result<Lease>;
    /// Ends one; what it alone held goes at the next collection.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()>;
    /// All that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse.
    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Lease>>;
    /// Puts something under a lease.
    ///
    /// # Errors
    /// `NotFound` for the lease; `Unimplemented` for an unknown kind of resource.
    fn add_resource(&self, ctx: &Ctx, lease: &str, resource: &Resource) -> Result<()>;
    /// Takes something from a lease; fine when it does not hold it.
    ///
    /// # Errors
    /// `NotFound` for the lease; `Unimplemented` for an unknown kind of resource.
    fn delete_resource(&self, ctx: &Ctx, lease: &str, resource: &Resource) -> Result<()>;
    /// What a lease holds.
    ///
    /// # Errors
    /// `NotFound` for the lease.
    fn resources(&self, ctx: &Ctx, lease: &str) -> Result<Vec<Resource>>;
}

/// Namespaces. One that was never made is there too as soon as something is stored in it; this keeps labels.
pub trait NamespaceStore: Send + Sync {
    /// One by its name.
    ///
    /// # Errors
    /// `NotFound`.
    fn get(&self, name: &str) -> Result<Namespace>;
    /// All.
    ///
    /// # Errors
    /// Those of the store.
    fn list(&self) -> Result<Vec<Namespace>>;
    /// Makes one.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument`.
    fn create(&self, namespace: &Namespace) -> Result<()>;
    /// Changes labels (`labels`, `labels.x`; none: all).
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for other fields.
    fn update(&self, namespace: &Namespace, fields: &[String]) -> Result<Namespace>;
    /// Removes an empty one.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` with what is still in it.
    fn delete(&self, name: &str) -> Result<()>;
}

/// Records of sandboxes.
pub trait SandboxStore: Send + Sync {
    /// One by its id.
    ///
    /// # Errors
    /// `NotFound`.
    fn get(&self, ctx: &Ctx, id: &str) -> Result<Sandbox>;
    /// All that match one of the filters; no filter matches all.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that does not parse.
    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Sandbox>>;
    /// Makes one; the times are set here.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument`.
    fn create(&self, ctx: &Ctx, sandbox: Sandbox) -> Result<Sandbox>;
    /// Changes one. Fields: `labels`, `labels.x`, `extensions`, `extensions.x`, `runtime`, `spec`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument`.
    fn update(&self, ctx: &Ctx, sandbox: Sandbox, fields: &[String]) -> Result<Sandbox>;
    /// Removes one.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, ctx: &Ctx, id: &str) -> Result<()>;
}

/// Where events go. Publishing never blocks and never fails a call: a slow subscriber is the subscriber's business.
pub trait EventPublisher: Send + Sync {
    /// Hands an event to whoever listens.
    fn publish(&self, event: Envelope);
}
