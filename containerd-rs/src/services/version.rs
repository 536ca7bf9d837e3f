//! Who answers.

use containerd_grpc::containerd::services::version::v1::version_server::Version;
use containerd_proto::containerd::services::version::v1::VersionResponse;
use tonic::{Request, Response, Status};

/// The version that clients are told: of the API that is served, then our own. Clients compare the first part with
/// what they need.
pub const VERSION: &str = concat!("1.7.0+containerd-rs.", env!("CARGO_PKG_VERSION"));

pub(crate) struct VersionService;

#[tonic::async_trait]
impl Version for VersionService {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: VERSION.to_owned(),
            revision: option_env!("CONTAINERD_RS_REVISION").unwrap_or_default().to_owned(),
        }))
    }
}
