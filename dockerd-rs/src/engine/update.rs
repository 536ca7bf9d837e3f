//! `update`: limits and restart policy of a container that exists.

use std::sync::Arc;

use containerd_proto::containerd::services::tasks::v1::UpdateTaskRequest;
use containerd_proto::type_urls;
use prost_types::Any;
use serde::Deserialize;

use super::container::Container;
use super::model::{Resources, RestartPolicy, Status, Ulimit};
use super::{Engine, spec, validate};
use crate::error::{Error, Result};

/// The body of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateRequest {
    #[serde(flatten)]
    pub(crate) resources: Resources,
    pub(crate) restart_policy: RestartPolicy,
}

impl Engine {
    /// Changes limits and policy, of the record and of what runs. What is returned are warnings.
    ///
    /// # Errors
    /// 400 for limits that cannot be, 409 for one that is being removed.
    pub(crate) async fn update(&self, container: &Arc<Container>, request: UpdateRequest) -> Result<Vec<String>> {
        let _turn = container.turn.lock().await;
        let record = container.record();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            return Err(Error::conflict(format!(
                "container is marked for removal and cannot be \"update\": {}",
                record.id
            )));
        }
        let mut host_config = record.host_config.clone();
        merge(&mut host_config.resources, &request.resources);
        if !request.restart_policy.name.is_empty() {
            if host_config.auto_remove && request.restart_policy.name != "no" {
                return Err(Error::invalid(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container",
                ));
            }
            host_config.restart_policy = request.restart_policy;
        }
        let warnings = validate::host_config(&mut host_config, &self.host)?;
        if record.state.is_running() {
            let resources = spec::resources(&host_config.resources)?;
            let value = serde_json::to_vec(&resources).map_err(|e| Error::failed("limits", e))?;
            let resources = Some(Any {
                type_url: type_urls::LINUX_RESOURCES.to_owned(),
                value,
            });
            let request = UpdateTaskRequest {
                container_id: record.id.clone(),
                resources,
                ..UpdateTaskRequest::default()
            };
            self.l3
                .tasks()
                .update(request)
                .await
                .map_err(|status| Error::from(status).context(format!("Cannot update container {}", record.id)))?;
        }
        let record = container.change(|record| record.host_config = host_config)?;
        self.container_event("update", &record, &[]);
        Ok(warnings)
    }
}

/// Takes over what the request says; zero and empty are "not said".
fn merge(old: &mut Resources, new: &Resources) {
    macro_rules! take {
        ($($field:ident: $zero:expr),* $(,)?) => {$( if new.$field != $zero { old.$field.clone_from(&new.$field); } )*};
    }
    if new.nano_cpus != 0 {
        (old.cpu_quota, old.cpu_period) = (0, 0);
    } else if new.cpu_quota != 0 || new.cpu_period != 0 {
        old.nano_cpus = 0;
    }
    if new.memory != 0 && new.memory_swap == 0 && old.memory_swap != -1 && old.memory_swap < new.memory {
        old.memory_swap = 0;
    }
    take!(
        cpu_shares: 0, memory: 0, nano_cpus: 0, blkio_weight: 0, cpu_period: 0, cpu_quota: 0, cpu_realtime_period: 0, cpu_realtime_runtime: 0,
        cpuset_cpus: String::new(), cpuset_mems: String::new(), memory_reservation: 0, memory_swap: 0, pids_limit: None,
    );
}

/// `nofile=1024:2048` of `--default-ulimit`.
pub(super) fn parse_ulimit(text: &str) -> Result<Ulimit> {
    let wrong = || Error::invalid(format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (soft.parse().map_err(|_| wrong())?, hard.parse().map_err(|_| wrong())?);
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}
