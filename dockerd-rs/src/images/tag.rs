//! `docker tag`.

use super::ImageService;
use super::reference::{Reference, canonical};
use crate::error::{Error, Result};

impl ImageService {
    /// Gives an image a further name. An image that had it loses it.
    ///
    /// # Errors
    /// 404 for the image, 400 for the name.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        let record = self.find(image).await?;
        let mut reference = Reference::parse(repository)?;
        if reference.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if !tag.is_empty() {
            reference = Reference::parse(&format!("{}:{tag}", reference.name()))?;
        }
        let reference = reference.or_latest();
        self.set_name(&canonical(&reference), &record.target).await?;
        self.event("tag", record.id(), &reference.familiar());
        Ok(())
    }
}
