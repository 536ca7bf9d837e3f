//! Blobs by digest.

mod read;
mod write;

use std::pin::Pin;

use containerd_grpc::containerd::services::content::v1::content_server::Content;
use containerd_proto::containerd::events as event;
use containerd_proto::containerd::services::content::v1 as api;
use containerd_rs_core::{ContentInfo, Digest, IngestStatus, Result};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::listing::{BATCH, pages};
use super::request::{blocking, context, missing};
use crate::events::Exchange;
use crate::serve::status;
use crate::stores::Stores;

pub(crate) struct ContentService {
    pub(crate) stores: Stores,
    pub(crate) exchange: Exchange,
}

type Reply<T> = std::result::Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

fn to_api(info: ContentInfo) -> api::Info {
    api::Info {
        digest: info.digest.into(),
        size: convert::size_out(info.size),
        created_at: Some(convert::time_out(info.created_at)),
        updated_at: Some(convert::time_out(info.updated_at)),
        labels: convert::labels_out(info.labels),
    }
}

fn from_api(info: api::Info) -> Result<ContentInfo> {
    Ok(ContentInfo {
        digest: Digest::parse(&info.digest)?,
        size: convert::size(info.size),
        created_at: info.created_at.map(convert::time).unwrap_or_default(),
        updated_at: info.updated_at.map(convert::time).unwrap_or_default(),
        labels: convert::labels(info.labels),
    })
}

fn ingest(found: IngestStatus) -> api::Status {
    api::Status {
        started_at: Some(convert::time_out(found.started_at)),
        updated_at: Some(convert::time_out(found.updated_at)),
        r#ref: found.reference,
        offset: convert::size_out(found.offset),
        total: convert::size_out(found.total),
        expected: found.expected.map(String::from).unwrap_or_default(),
    }
}

fn parse(digest: &str) -> std::result::Result<Digest, Status> {
    Digest::parse(digest).map_err(|e| status(&e))
}

#[tonic::async_trait]
impl Content for ContentService {
    async fn info(&self, request: Request<api::InfoRequest>) -> Reply<api::InfoResponse> {
        let ctx = context(&request)?;
        let (store, digest) = (self.stores.content.clone(), parse(&request.into_inner().digest)?);
        let info = blocking(move || store.info(&ctx, &digest)).await?;
        Ok(Response::new(api::InfoResponse {
            info: Some(to_api(info)),
        }))
    }

    async fn update(&self, request: Request<api::UpdateRequest>) -> Reply<api::UpdateResponse> {
        let ctx = context(&request)?;
        let api::UpdateRequest { info, update_mask } = request.into_inner();
        let info = from_api(info.ok_or_else(|| missing("info"))?).map_err(|e| status(&e))?;
        let (store, fields) = (self.stores.content.clone(), update_mask.unwrap_or_default().paths);
        let info = blocking(move || store.update(&ctx, &info, &fields)).await?;
        Ok(Response::new(api::UpdateResponse {
            info: Some(to_api(info)),
        }))
    }

    type ListStream = BoxStream<api::ListContentResponse>;

    async fn list(&self, request: Request<api::ListContentRequest>) -> Reply<Self::ListStream> {
        let ctx = context(&request)?;
        let (store, filters) = (self.stores.content.clone(), request.into_inner().filters);
        let stream = pages(BATCH, move |each| {
            store.walk(&ctx, &filters, &mut |info| each(to_api(info)))
        });
        let stream = futures_util::StreamExt::map(stream, |page| page.map(|info| api::ListContentResponse { info }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn delete(&self, request: Request<api::DeleteContentRequest>) -> Reply<()> {
        let ctx = context(&request)?;
        let (store, digest) = (self.stores.content.clone(), parse(&request.into_inner().digest)?);
        let namespace = ctx.namespace.clone();
        let event = event::ContentDelete {
            digest: digest.to_string(),
        };
        blocking(move || store.delete(&ctx, &digest)).await?;
        self.exchange.emit(&namespace, "/content/delete", &event);
        Ok(Response::new(()))
    }

    type ReadStream = BoxStream<api::ReadContentResponse>;

    async fn read(&self, request: Request<api::ReadContentRequest>) -> Reply<Self::ReadStream> {
        let ctx = context(&request)?;
        let request = request.into_inner();
        let (store, digest) = (self.stores.content.clone(), parse(&request.digest)?);
        let blob = blocking(move || store.reader(&ctx, &digest)).await?;
        Ok(Response::new(Box::pin(read::stream(blob, &request)?)))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Reply<api::StatusResponse> {
        let ctx = context(&request)?;
        let store = self.stores.content.clone();
        let found = blocking(move || store.status(&ctx, &request.into_inner().r#ref)).await?;
        Ok(Response::new(api::StatusResponse {
            status: Some(ingest(found)),
        }))
    }

    async fn list_statuses(&self, request: Request<api::ListStatusesRequest>) -> Reply<api::ListStatusesResponse> {
        let ctx = context(&request)?;
        let store = self.stores.content.clone();
        let found = blocking(move || store.statuses(&ctx, &request.into_inner().filters)).await?;
        Ok(Response::new(api::ListStatusesResponse {
            statuses: found.into_iter().map(ingest).collect(),
        }))
    }

    type WriteStream = BoxStream<api::WriteContentResponse>;

    async fn write(&self, request: Request<Streaming<api::WriteContentRequest>>) -> Reply<Self::WriteStream> {
        let ctx = context(&request)?;
        let session = write::Session::new(ctx, self.stores.content.clone(), self.exchange.clone());
        Ok(Response::new(Box::pin(session.stream(request.into_inner()))))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Reply<()> {
        let ctx = context(&request)?;
        let store = self.stores.content.clone();
        blocking(move || store.abort(&ctx, &request.into_inner().r#ref)).await?;
        Ok(Response::new(()))
    }
}
