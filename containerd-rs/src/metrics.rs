//! What the engine and its tasks use, as Prometheus reads it. Names of the containers' metrics are those of containerd.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use containerd_proto::containerd::task::v3::StatsRequest;
use containerd_proto::io::containerd::cgroups::{v1, v2};
use futures_util::StreamExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::events::Exchange;
use crate::tasks::Manager;

/// Shims that are asked beside one another.
const PARALLEL: usize = 64;

type Labels = Vec<(&'static str, String)>;
type Values = Family<Labels, Gauge<f64, AtomicU64>>;

/// What one task uses; `None` is what its cgroup does not tell.
#[derive(Debug, Default, PartialEq)]
struct Usage {
    cpu_nanoseconds: Option<u64>,
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    pids: Option<u64>,
}

/// Everything, in OpenMetrics text.
pub(crate) async fn text(manager: &Manager, exchange: &Exchange) -> String {
    let mut registry = Registry::default();
    let gauge = |value: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge
    };
    registry.register("containerd_rs_tasks", "Tasks with a shim", gauge(manager.count()));
    registry.register(
        "containerd_rs_event_subscribers",
        "Subscribers of events",
        gauge(exchange.subscribers()),
    );
    let (cpu, memory, limit, pids) = (
        Values::default(),
        Values::default(),
        Values::default(),
        Values::default(),
    );
    registry.register_with_unit(
        "container_cpu_total",
        "The total cpu time",
        Unit::Other("nanoseconds".into()),
        cpu.clone(),
    );
    registry.register_with_unit(
        "container_memory_usage_usage",
        "The memory usage",
        Unit::Bytes,
        memory.clone(),
    );
    registry.register_with_unit(
        "container_memory_usage_limit",
        "The memory limit",
        Unit::Bytes,
        limit.clone(),
    );
    registry.register(
        "container_pids_current_count",
        "The current number of pids",
        pids.clone(),
    );
    for (labels, usage) in usages(manager).await {
        for (family, value) in [
            (&cpu, usage.cpu_nanoseconds),
            (&memory, usage.memory_bytes),
            (&limit, usage.memory_limit_bytes),
            (&pids, usage.pids),
        ] {
            if let Some(value) = value {
                #[allow(clippy::cast_precision_loss, reason = "the text format has floating point numbers")]
                family.get_or_create(&labels).set(value as f64);
            }
        }
    }
    let mut text = String::new();
    // Writing to a string fails only when a metric refuses to be written, and none of these does.
    let written: Result<(), Error> = encode(&mut text, &registry);
    if let Err(error) = written {
        tracing::error!(%error, "metrics");
    }
    text
}

async fn usages(manager: &Manager) -> Vec<(Labels, Usage)> {
    let tasks = manager.list(None).await;
    let asked = futures_util::stream::iter(tasks).map(|task| async move {
        let stats = task
            .task()
            .stats(
                &task.context(),
                &StatsRequest {
                    id: task.id().to_owned(),
                },
            )
            .await
            .ok()?
            .stats?;
        let labels = vec![
            ("container_id", task.id().to_owned()),
            ("namespace", task.namespace().to_owned()),
        ];
        Some((labels, usage(&stats)))
    });
    asked.buffered(PARALLEL).filter_map(std::future::ready).collect().await
}

fn usage(stats: &prost_types::Any) -> Usage {
    if let Ok(metrics) = containerd_proto::unpack::<v1::Metrics>(stats) {
        let memory = metrics.memory.and_then(|memory| memory.usage);
        return Usage {
            cpu_nanoseconds: metrics.cpu.and_then(|cpu| cpu.usage).map(|usage| usage.total),
            memory_bytes: memory.as_ref().map(|memory| memory.usage),
            memory_limit_bytes: memory.map(|memory| memory.limit),
            pids: metrics.pids.map(|pids| pids.current),
        };
    }
    let Ok(metrics) = containerd_proto::unpack::<v2::Metrics>(stats) else {
        return Usage::default();
    };
    Usage {
        cpu_nanoseconds: metrics.cpu.map(|cpu| cpu.usage_usec.saturating_mul(1000)),
        memory_bytes: metrics.memory.as_ref().map(|memory| memory.usage),
        memory_limit_bytes: metrics.memory.map(|memory| memory.usage_limit),
        pids: metrics.pids.map(|pids| pids.current),
    }
}
