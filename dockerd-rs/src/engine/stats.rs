//! `stats`: metrics of the layer below, in the API's shape.

use containerd_proto::containerd::services::tasks::v1::MetricsRequest;
use containerd_proto::io::containerd::cgroups::{v1, v2};
use containerd_proto::unpack;
use serde_json::{Value, json};

use super::Engine;
use super::container::Container;
use crate::error::{Error, Result};

impl Engine {
    /// One reading; a container that does not run has one of zeros.
    pub(crate) async fn stats(&self, container: &Container, before: Option<&Value>) -> Result<Value> {
        let record = container.record();
        let mut value = json!({
            "name": format!("/{}", record.name), "id": record.id, "read": super::now(), "preread": super::model::ZERO_TIME,
            "num_procs": 0, "storage_stats": {}, "pids_stats": {}, "cpu_stats": empty_cpu(), "precpu_stats": empty_cpu(),
            "memory_stats": {}, "blkio_stats": {}, "networks": {},
        });
        if record.state.is_running() {
            self.fill(&record.id, &mut value).await?;
            value["networks"] = networks(record.state.pid);
        }
        if let Some(before) = before {
            value["precpu_stats"] = before["cpu_stats"].clone();
            value["preread"] = before["read"].clone();
        }
        Ok(value)
    }

    async fn fill(&self, id: &str, value: &mut Value) -> Result<()> {
        let request = MetricsRequest {
            filters: vec![format!("id=={id}")],
        };
        let metrics = self.l3.tasks().metrics(request).await?.into_inner().metrics;
        let Some(data) = metrics
            .into_iter()
            .find(|metric| metric.id == id)
            .and_then(|metric| metric.data)
        else {
            return Ok(());
        };
        if data.type_url.contains("cgroups.v2") {
            let metrics = unpack::<v2::Metrics>(&data).map_err(|e| Error::failed("metrics", e))?;
            fill_v2(&metrics, value, self.host.cpus);
        } else {
            let metrics = unpack::<v1::Metrics>(&data).map_err(|e| Error::failed("metrics", e))?;
            fill_v1(&metrics, value, self.host.cpus);
        }
        if value["memory_stats"]["limit"]
            .as_u64()
            .is_some_and(|limit| limit > self.host.memory)
        {
            value["memory_stats"]["limit"] = json!(self.host.memory);
        }
        Ok(())
    }
}

fn empty_cpu() -> Value {
    json!({
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    })
}

fn fill_v1(metrics: &v1::Metrics, value: &mut Value, cpus: usize) {
    if let Some(pids) = &metrics.pids {
        value["pids_stats"] = json!({"current": pids.current, "limit": pids.limit});
    }
    if let Some(cpu) = &metrics.cpu {
        let (usage, throttling) = (
            cpu.usage.clone().unwrap_or_default(),
            cpu.throttling.unwrap_or_default(),
        );
        value["cpu_stats"] = json!({
            "cpu_usage": {
                "total_usage": usage.total, "percpu_usage": usage.per_cpu, "usage_in_kernelmode": usage.kernel, "usage_in_usermode": usage.user,
            },
            "system_cpu_usage": system_cpu(),
            "online_cpus": cpus,
            "throttling_data": {
                "periods": throttling.periods, "throttled_periods": throttling.throttled_periods, "throttled_time": throttling.throttled_time,
            },
        });
    }
    if let Some(memory) = &metrics.memory {
        let usage = memory.usage.unwrap_or_default();
        value["memory_stats"] = json!({
            "usage": usage.usage, "max_usage": usage.max, "failcnt": usage.failcnt, "limit": usage.limit,
            "stats": {
                "cache": memory.cache, "rss": memory.rss, "mapped_file": memory.mapped_file, "pgfault": memory.pg_fault, "pgmajfault": memory.pg_maj_fault,
                "inactive_anon": memory.inactive_anon, "active_anon": memory.active_anon, "inactive_file": memory.inactive_file,
                "active_file": memory.active_file, "unevictable": memory.unevictable, "total_cache": memory.total_cache, "total_rss": memory.total_rss,
                "total_inactive_file": memory.total_inactive_file, "total_active_file": memory.total_active_file,
            },
        });
    }
    if let Some(io) = &metrics.blkio {
        let list = |entries: &[v1::BlkIoEntry]| {
            entries
                .iter()
                .map(|e| json!({"major": e.major, "minor": e.minor, "op": e.op, "value": e.value}))
                .collect::<Vec<_>>()
        };
        value["blkio_stats"] = json!({
            "io_service_bytes_recursive": list(&io.io_service_bytes_recursive), "io_serviced_recursive": list(&io.io_serviced_recursive),
            "io_queue_recursive": null, "io_service_time_recursive": null, "io_wait_time_recursive": null, "io_merged_recursive": null,
            "io_time_recursive": null, "sectors_recursive": null,
        });
    }
}

fn fill_v2(metrics: &v2::Metrics, value: &mut Value, cpus: usize) {
    if let Some(pids) = &metrics.pids {
        value["pids_stats"] = json!({"current": pids.current, "limit": pids.limit});
    }
    if let Some(cpu) = &metrics.cpu {
        value["cpu_stats"] = json!({
            "cpu_usage": {
                "total_usage": cpu.usage_usec * 1000, "usage_in_kernelmode": cpu.system_usec * 1000, "usage_in_usermode": cpu.user_usec * 1000,
            },
            "system_cpu_usage": system_cpu(),
            "online_cpus": cpus,
            "throttling_data": {"periods": cpu.nr_periods, "throttled_periods": cpu.nr_throttled, "throttled_time": cpu.throttled_usec * 1000},
        });
    }
    if let Some(memory) = &metrics.memory {
        value["memory_stats"] = json!({
            "usage": memory.usage, "limit": memory.usage_limit,
            "stats": {
                "anon": memory.anon, "file": memory.file, "inactive_anon": memory.inactive_anon, "active_anon": memory.active_anon,
                "inactive_file": memory.inactive_file, "active_file": memory.active_file, "pgfault": memory.pgfault, "pgmajfault": memory.pgmajfault,
            },
        });
    }
}

/// CPU time of the whole machine, in nanoseconds.
fn system_cpu() -> u64 {
    const TICK: u64 = 10_000_000;
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK
}

/// Counters of the container's interfaces, as its own `/proc/net/dev` has them.
fn networks(pid: u32) -> Value {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut all = serde_json::Map::new();
    for (name, counters) in text
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
    {
        let numbers: Vec<u64> = counters
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        all.insert(
            name.trim().to_owned(),
            json!({
                "rx_bytes": at(0), "rx_packets": at(1), "rx_errors": at(2), "rx_dropped": at(3),
                "tx_bytes": at(8), "tx_packets": at(9), "tx_errors": at(10), "tx_dropped": at(11),
            }),
        );
    }
    Value::Object(all)
}
