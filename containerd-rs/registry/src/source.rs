//! The roles that a source of images plays.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::document::DOCUMENT_LIMIT;
use crate::{Descriptor, RegistryError, Repository, digest};

/// The bytes of one blob, in order, from the offset asked for to its end. It ends with an error when the blob is
/// shorter or longer than its descriptor says; the digest is for the receiver to check.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// Turns a name into the descriptor of the document it stands for.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Resolves `reference`, a tag or a digest, within `repository`.
    ///
    /// # Errors
    /// Whatever keeps the registry from telling; [`RegistryError::is_not_found`] when it knows no such document.
    async fn resolve(&self, repository: &Repository, reference: &str) -> Result<Descriptor, RegistryError>;

    /// What fetches the blobs and documents of `repository`.
    fn fetcher(&self, repository: &Repository) -> Box<dyn Fetcher>;
}

/// Delivers the content of descriptors out of one repository.
#[async_trait]
pub trait Fetcher: Send + Sync {
    /// Opens the blob or document that `descriptor` names, from `offset` bytes on.
    ///
    /// # Errors
    /// When the source has no such blob or gives no answer. Breaks after that are for the stream to mend or report.
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, RegistryError>;

    /// Fetches a whole document (manifest, index, config): at most 4 MiB, verified against its digest.
    ///
    /// # Errors
    /// Those of [`Fetcher::fetch`]; [`RegistryError::TooLarge`]; [`RegistryError::Digest`].
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        let too_large = || RegistryError::TooLarge {
            what: descriptor.digest().to_string(),
            limit: DOCUMENT_LIMIT,
        };
        if descriptor.size() > DOCUMENT_LIMIT {
            return Err(too_large());
        }
        let mut stream = self.fetch(descriptor, 0).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() as u64 > DOCUMENT_LIMIT {
                return Err(too_large());
            }
        }
        digest::verify(&bytes, descriptor.digest())?;
        Ok(bytes.freeze())
    }
}
