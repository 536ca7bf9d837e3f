//! Names for content.

use containerd_grpc::containerd::services::images::v1::images_server::Images;
use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::images::v1 as api;
use containerd_rs_core::{Image, Result};
use tonic::{Request, Response, Status};

use super::convert;
use super::request::{blocking, context, missing};
use crate::events::Exchange;
use crate::gc::Gc;
use crate::serve::status;
use crate::stores::Stores;

pub(crate) struct ImagesService {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
    pub(crate) gc: Gc,
}

fn from_api(value: api::Image) -> Result<Image> {
    Ok(Image {
        name: value.name,
        labels: convert::labels(value.labels),
        target: convert::descriptor(value.target.unwrap_or_default())?,
        created_at: value.created_at.map(convert::time).unwrap_or_default(),
        updated_at: value.updated_at.map(convert::time).unwrap_or_default(),
    })
}

fn to_api(value: Image) -> api::Image {
    api::Image {
        name: value.name,
        labels: convert::labels_out(value.labels),
        target: Some(convert::descriptor_out(value.target)),
        created_at: Some(convert::time_out(value.created_at)),
        updated_at: Some(convert::time_out(value.updated_at)),
    }
}

#[tonic::async_trait]
impl Images for ImagesService {
    async fn get(
        &self,
        request: Request<api::GetImageRequest>,
    ) -> std::result::Result<Response<api::GetImageResponse>, Status> {
        let ctx = context(&request)?;
        let store = self.stores.images.clone();
        let image = blocking(move || store.get(&ctx, &request.into_inner().name)).await?;
        Ok(Response::new(api::GetImageResponse {
            image: Some(to_api(image)),
        }))
    }

    async fn list(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> std::result::Result<Response<api::ListImagesResponse>, Status> {
        let ctx = context(&request)?;
        let store = self.stores.images.clone();
        let images = blocking(move || store.list(&ctx, &request.into_inner().filters)).await?;
        Ok(Response::new(api::ListImagesResponse {
            images: images.into_iter().map(to_api).collect(),
        }))
    }

    async fn create(
        &self,
        request: Request<api::CreateImageRequest>,
    ) -> std::result::Result<Response<api::CreateImageResponse>, Status> {
        let ctx = context(&request)?;
        let image = from_api(request.into_inner().image.ok_or_else(|| missing("image"))?).map_err(|e| status(&e))?;
        let (store, namespace) = (self.stores.images.clone(), ctx.namespace.clone());
        let image = to_api(blocking(move || store.create(&ctx, image)).await?);
        let event = event::ImageCreate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        self.exchange.emit(&namespace, "/images/create", &event);
        Ok(Response::new(api::CreateImageResponse { image: Some(image) }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateImageRequest>,
    ) -> std::result::Result<Response<api::UpdateImageResponse>, Status> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        let image = request.image.ok_or_else(|| missing("image"))?;
        let fields = request.update_mask.unwrap_or_default().paths;
        let (store, namespace) = (self.stores.images.clone(), ctx.namespace.clone());
        let image = blocking(move || {
            // A request that changes labels only need not tell the target.
            let told = image.target.as_ref().is_some_and(|target| !target.digest.is_empty());
            let image = if told || fields.is_empty() || fields.iter().any(|field| field == "target") {
                from_api(image)?
            } else {
                let mut target = convert::descriptor_out(store.get(&ctx, &image.name)?.target);
                if let Some(told) = image.target {
                    target.annotations = told.annotations;
                }
                from_api(api::Image {
                    target: Some(target),
                    ..image
                })?
            };
            store.update(&ctx, image, &fields)
        });
        let image = to_api(image.await?);
        let event = event::ImageUpdate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        self.exchange.emit(&namespace, "/images/update", &event);
        Ok(Response::new(api::UpdateImageResponse { image: Some(image) }))
    }

    async fn delete(&self, request: Request<api::DeleteImageRequest>) -> std::result::Result<Response<()>, Status> {
        let ctx = context(&request)?;
        let api::DeleteImageRequest { name, sync, target } = request.into_inner();
        let target = target
            .map(|target| convert::digest(&target.digest))
            .transpose()
            .map_err(|e| status(&e))?
            .flatten();
        let (store, namespace) = (self.stores.images.clone(), ctx.namespace.clone());
        let event = event::ImageDelete { name: name.clone() };
        blocking(move || store.delete(&ctx, &name, target.as_ref())).await?;
        self.exchange.emit(&namespace, "/images/delete", &event);
        if sync {
            self.gc.now().await?;
        }
        Ok(Response::new(()))
    }
}
