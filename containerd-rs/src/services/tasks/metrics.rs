//! What tasks use, asked of many shims at once.

use containerd_proto::containerd::task::v3::StatsRequest;
use containerd_proto::containerd::types::Metric;
use containerd_rs_core::Ctx;
use containerd_rs_core::filter::{Adaptor, Filters};
use futures_util::StreamExt as _;
use tonic::Status;

use super::PARALLEL;
use crate::serve::status;
use crate::tasks::{Manager, Shim};

/// A task as the filters of metrics see it.
struct Fields<'a>(&'a Shim);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[String]) -> Option<String> {
        match path {
            [name] if name == "id" => Some(self.0.id().to_owned()),
            [name] if name == "namespace" => Some(self.0.namespace().to_owned()),
            _ => None,
        }
    }
}

/// The metrics of all tasks that match. Tasks that cannot say, because they ended, are left out.
pub(super) async fn collect(manager: &Manager, ctx: &Ctx, filters: &[String]) -> Result<Vec<Metric>, Status> {
    let filters = Filters::parse(filters).map_err(|e| status(&e))?;
    let mut tasks = manager.list(Some(&ctx.namespace)).await;
    tasks.retain(|task| filters.matches(&Fields(task)));
    let asked = futures_util::stream::iter(tasks).map(|task| async move {
        let request = StatsRequest {
            id: task.id().to_owned(),
        };
        match task.task().stats(&task.context(), &request).await {
            Ok(answer) => Some(Metric {
                timestamp: Some(containerd_proto::now()),
                id: task.id().to_owned(),
                data: answer.stats,
            }),
            Err(error) => {
                tracing::debug!(namespace = task.namespace(), id = task.id(), %error, "collecting metrics");
                None
            }
        }
    });
    Ok(asked.buffered(PARALLEL).filter_map(std::future::ready).collect().await)
}
