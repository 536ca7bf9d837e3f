//! What all services do with a request first: whose is it, and off to a thread that may block.

use containerd_grpc::{LEASE_HEADER, NAMESPACE_HEADER};
use containerd_rs_core::{Ctx, Error, Result};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::serve::status;

/// On whose behalf a request comes, from its headers.
///
/// # Errors
/// `FailedPrecondition` "namespace is required" without the header; `InvalidArgument` for a namespace that is no identifier.
pub(crate) fn context<T>(request: &Request<T>) -> std::result::Result<Ctx, Status> {
    from_headers(request.metadata()).map_err(|e| status(&e))
}

fn from_headers(headers: &MetadataMap) -> Result<Ctx> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let namespace = text(NAMESPACE_HEADER);
    if namespace.is_empty() {
        return Err(Error::FailedPrecondition("namespace is required".into()));
    }
    Ok(Ctx::new(namespace)?.with_lease(Some(text(LEASE_HEADER))))
}

/// Runs work of the stores on a thread that may block; a caller that goes away does not stop it half-way.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Status> {
    match run(work).await {
        Ok(value) => Ok(value),
        Err(error) => Err(status(&error)),
    }
}

/// As [`blocking`], with the error as it is.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("a worker thread broke off: {error}"))))
}

/// The error for a message field that must be there.
pub(crate) fn missing(field: &str) -> Status {
    status(&Error::InvalidArgument(format!("{field} must be set")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_is_required_in_the_words_of_containerd() {
        let error = context(&Request::new(())).unwrap_err();
        assert_eq!(error.code(), tonic::Code::FailedPrecondition);
        assert_eq!(error.message(), "namespace is required: failed precondition");
        let mut request = Request::new(());
        request.metadata_mut().insert(NAMESPACE_HEADER, "a/b".parse().unwrap());
        assert_eq!(context(&request).unwrap_err().code(), tonic::Code::InvalidArgument);
        request.metadata_mut().insert(NAMESPACE_HEADER, "moby".parse().unwrap());
        request.metadata_mut().insert(LEASE_HEADER, "l".parse().unwrap());
        let ctx = context(&request).unwrap();
        assert_eq!((ctx.namespace.as_str(), ctx.lease.as_deref()), ("moby", Some("l")));
    }
}
