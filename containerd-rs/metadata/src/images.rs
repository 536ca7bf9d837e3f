//! Names for content.

use std::sync::Arc;

use containerd_rs_core::{
    Ctx, Descriptor, Digest, Error, Image, ImageStore, Resource, Result, Timestamp, fields, validate_labels,
};

use crate::activity::Activity;
use crate::db::{Db, Durability};
use crate::gc::LABEL_EXPIRE;
use crate::tx::{Table, WriteTx};
use crate::{leases, namespaces, records};

/// The images of the database.
pub struct Images {
    pub(crate) db: Arc<Db>,
    pub(crate) activity: Arc<Activity>,
}

fn absent(name: &str) -> Error {
    Error::NotFound(format!("image {name:?}"))
}

fn validate(image: &Image) -> Result<()> {
    if image.name.is_empty() {
        return Err(Error::InvalidArgument("image name must not be empty".into()));
    }
    validate_labels(&image.labels).map_err(|e| e.context("image.Labels"))?;
    let Descriptor { media_type, size, .. } = &image.target;
    if *size == 0 {
        return Err(Error::InvalidArgument("Target.Size must be greater than zero".into()));
    }
    if media_type.is_empty() {
        return Err(Error::InvalidArgument("Target.MediaType must be set".into()));
    }
    Ok(())
}

/// An image that may expire is held by the lease of whoever made it; others are roots anyway.
fn lease(tx: &mut WriteTx, ctx: &Ctx, image: &Image) -> Result<()> {
    if !image.labels.contains_key(LABEL_EXPIRE) {
        return Ok(());
    }
    leases::hold(
        tx,
        ctx,
        Resource {
            kind: "images".into(),
            id: image.name.clone(),
        },
    )
}

impl ImageStore for Images {
    fn get(&self, ctx: &Ctx, name: &str) -> Result<Image> {
        records::find(&self.db.read()?, Table::Images, ctx, name)?.ok_or_else(|| absent(name))
    }

    fn list(&self, ctx: &Ctx, filters: &[String]) -> Result<Vec<Image>> {
        records::list(&self.db.read()?, Table::Images, ctx, filters)
    }

    fn create(&self, ctx: &Ctx, mut image: Image) -> Result<Image> {
        validate(&image)?;
        image.labels.retain(|_, value| !value.is_empty());
        image.created_at = Timestamp::now();
        image.updated_at = image.created_at;
        let ctx = ctx.clone();
        let made = self.db.write(Durability::Durable, move |tx| {
            namespaces::ensure(tx, &ctx.namespace)?;
            lease(tx, &ctx, &image)?;
            if records::find::<Image>(tx, Table::Images, &ctx, &image.name)?.is_some() {
                return Err(Error::AlreadyExists(format!("image {:?}", image.name)));
            }
            records::store(tx, Table::Images, &ctx, &image.name, &image)?;
            Ok(image)
        })?;
        self.activity.changed();
        Ok(made)
    }

    fn update(&self, ctx: &Ctx, image: Image, fields: &[String]) -> Result<Image> {
        if image.name.is_empty() {
            return Err(Error::InvalidArgument("image name is required for update".into()));
        }
        let (ctx, fields) = (ctx.clone(), fields.to_vec());
        let updated = self.db.write(Durability::Durable, move |tx| {
            let found = records::find(tx, Table::Images, &ctx, &image.name)?;
            let mut updated: Image = found.ok_or_else(|| absent(&image.name))?;
            fields::update_image(&mut updated, &image, &fields)?;
            validate(&updated)?;
            lease(tx, &ctx, &updated)?;
            updated.updated_at = Timestamp::now();
            records::store(tx, Table::Images, &ctx, &updated.name, &updated)?;
            Ok(updated)
        })?;
        // The old target may be nobody's now.
        self.activity.deleted();
        Ok(updated)
    }

    fn delete(&self, ctx: &Ctx, name: &str, target: Option<&Digest>) -> Result<()> {
        let (ctx, name, target) = (ctx.clone(), name.to_owned(), target.cloned());
        self.db.write(Durability::Durable, move |tx| {
            if let Some(target) = target {
                let found = records::find(tx, Table::Images, &ctx, &name)?;
                let image: Image = found.ok_or_else(|| absent(&name))?;
                if image.target.digest != target {
                    let text = format!("image {name:?} has target {}, not {target}", image.target.digest);
                    return Err(Error::NotFound(text));
                }
            }
            records::remove(tx, Table::Images, &ctx, &name, &format!("image {name:?}"))?;
            leases::release(
                tx,
                &ctx,
                &Resource {
                    kind: "images".into(),
                    id: name,
                },
            )
        })?;
        self.activity.deleted();
        Ok(())
    }
}
