//! `rm`, and `prune`.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::container::Container;
use super::model::Status;
use crate::error::{Error, ErrorKind, Result};

/// How long a container may take to end that is removed by force.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Also when it runs.
    pub(crate) force: bool,
    /// With its anonymous volumes.
    pub(crate) volumes: bool,
}

impl Engine {
    /// Removes a container. Boxed: an exit may end in a removal, and a failed start too.
    pub(crate) fn remove<'a>(
        self: &'a Arc<Self>,
        container: &'a Arc<Container>,
        options: Options,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            let record = container.record();
            let running = record.state.is_running() || record.state.status == Status::Restarting;
            if running && !options.force {
                let word = record.state.status.word();
                let hint = if record.state.status == Status::Paused {
                    "unpause and then stop the container before removing or force remove"
                } else {
                    "stop the container before removing or force remove"
                };
                return Err(Error::conflict(format!(
                    "cannot remove container \"/{}\": container is {word}: {hint}",
                    record.name
                )));
            }
            if running {
                match self.kill(container, None).await {
                    Err(error) if !matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
                        return Err(error);
                    }
                    _ => {}
                }
                self.until_idle(container).await;
            }
            let _turn = container.turn.lock().await;
            self.remove_in_turn(container, options.volumes).await
        })
    }

    async fn until_idle(&self, container: &Container) {
        let mut life = container.life.subscribe();
        let idle = life.wait_for(|life| !life.running || life.removed);
        if tokio::time::timeout(PATIENCE, idle).await.is_err() {
            tracing::warn!(container = %container.id, "does not end; removed all the same");
        }
    }

    /// Removes it; the caller has its turn.
    pub(crate) async fn remove_in_turn(self: &Arc<Self>, container: &Arc<Container>, volumes: bool) -> Result<()> {
        if self.containers.by_id(&container.id).is_none() {
            // Somebody was faster.
            return Ok(());
        }
        let record = container.change_anyway(|record| record.state.status = Status::Removing);
        if record.state.pid != 0 {
            self.clean_up(container, &record).await;
        }
        container.streams.abandon().await;
        if let Err(error) = self.remove_snapshot(&container.id).await {
            container.change_anyway(|record| record.state.status = Status::Dead);
            container.life.send_modify(|life| life.error.clone_from(&error.message));
            return Err(error.context(format!(
                "container {}: driver \"overlayfs\" failed to remove root filesystem",
                container.id
            )));
        }
        if volumes {
            for point in record.mounts.iter().filter(|point| point.anonymous) {
                self.remove_volume_if_free(&container.id, &point.name);
            }
        }
        let _ = std::fs::remove_dir_all(self.run_directory(&container.id));
        self.store.remove(&container.id)?;
        self.containers.remove(&container.id);
        self.container_event("destroy", &record, &[]);
        container
            .life
            .send_modify(|life| (life.removed, life.running) = (true, false));
        Ok(())
    }

    fn remove_volume_if_free(&self, leaving: &str, name: &str) {
        if self.volume_users(name).iter().any(|id| id != leaving) {
            return;
        }
        match self.volumes.remove(name) {
            Ok(()) => self.events.emit("volume", "destroy", name, [("driver", "local")]),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(volume = name, %error, "not removed"),
        }
    }

    /// Ids of the containers that have this volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let uses = |container: &Arc<Container>| {
            container
                .record()
                .mounts
                .iter()
                .any(|point| point.kind == "volume" && point.name == name)
        };
        self.containers
            .all()
            .iter()
            .filter(|container| uses(container))
            .map(|container| container.id.clone())
            .collect()
    }

    /// Removes every container that `stale` picks and that does not run. What is returned are ids and bytes.
    pub(crate) async fn prune(self: &Arc<Self>, stale: impl Fn(&Container) -> bool) -> (Vec<String>, u64) {
        let mut removed = Vec::new();
        let mut bytes = 0;
        for container in self.containers.all() {
            let status = container.record().state.status;
            if !matches!(status, Status::Created | Status::Exited | Status::Dead) || !stale(&container) {
                continue;
            }
            let size = self.layer_size(&container.id).await;
            match self.remove(&container, Options::default()).await {
                Ok(()) => {
                    bytes += size;
                    removed.push(container.id.clone());
                }
                Err(error) => tracing::warn!(container = %container.id, %error, "not pruned"),
            }
        }
        self.events
            .emit("container", "prune", "", [("reclaimed", bytes.to_string())]);
        (removed, bytes)
    }
}
