//! What a daemon does at its start about what the one before it left: half-made containers are unmade, running ones go on, and those that
//! ended meanwhile get their true exit code, their restart and their removal.

use std::sync::Arc;

use dockerd_rs_network::Alive;

use super::container::Container;
use super::exit::should_restart;
use super::model::Status;
use super::streams::Streams;
use super::{Engine, blocking, remove};
use crate::error::Result;

impl Engine {
    /// Takes up the records. The layer below answers already.
    pub(super) async fn restore(self: &Arc<Self>) -> Result<()> {
        let loaded = self.store.load()?;
        for (id, reason) in loaded.broken {
            if let Err(error) = self.set_aside(&id, &reason).await {
                tracing::error!(container = id, %error, reason, "record cannot be read, and is left where it is");
            }
        }
        let mut alive = Vec::new();
        let mut containers = Vec::new();
        for record in loaded.records {
            let streams = Streams::new(self.run_directory(&record.id));
            containers.push(Container::new(record, streams, Arc::clone(&self.store)));
        }
        for container in containers {
            let record = container.record();
            if !record.complete {
                tracing::info!(container = %container.id, "half made: taken away");
                self.unbuild(&container).await;
                continue;
            }
            if let Err(error) = self.containers.reserve(Some(&record.name), &container.id) {
                tracing::warn!(container = %container.id, %error, "name taken");
            }
            if record.state.is_running() {
                alive.push(Alive {
                    container_id: container.id.clone(),
                });
                if let Err(error) = self.adopt_streams(&container) {
                    tracing::warn!(container = %container.id, %error, "streams not taken up");
                }
            }
            self.containers.add(container);
        }
        self.restore_networks(alive).await?;
        self.sweep_network_namespaces();
        let engine = Arc::clone(self);
        // Serving does not wait for this: whoever asks after a container before its turn sees it as it was.
        tokio::spawn(async move { engine.settle().await });
        Ok(())
    }

    fn adopt_streams(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let wiring = self.wiring(container, &container.record())?;
        container.streams.adopt(wiring)
    }

    async fn restore_networks(self: &Arc<Self>, alive: Vec<Alive>) -> Result<()> {
        let network = Arc::clone(&self.network);
        let restored = blocking(move || Ok(network.restore(&alive))).await?;
        for failure in restored.failures {
            tracing::warn!(%failure, "network not put right");
        }
        for container in self
            .containers
            .all()
            .iter()
            .filter(|container| container.record().state.is_running())
        {
            let endpoints = self.network.endpoints(&container.id);
            container.change_anyway(|record| record.endpoints = endpoints);
        }
        Ok(())
    }

    /// Namespaces of runs that are over: their daemon was killed before it could take them away.
    fn sweep_network_namespaces(&self) {
        let Ok(entries) = std::fs::read_dir(self.config.exec_root.join("netns")) else {
            return;
        };
        let running: Vec<_> = self
            .containers
            .all()
            .iter()
            .filter(|c| c.record().state.is_running())
            .map(|c| self.netns_path(&c.id))
            .collect();
        for path in entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !running.contains(path))
        {
            if let Err(error) = dockerd_rs_network::netns::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "network namespace left");
            }
        }
    }

    /// What is to be done about each container.
    async fn settle(self: &Arc<Self>) {
        let mut work = tokio::task::JoinSet::new();
        for container in self.containers.all() {
            let engine = Arc::clone(self);
            work.spawn(async move { engine.settle_one(&container).await });
        }
        while work.join_next().await.is_some() {}
        tracing::info!("containers restored");
    }

    async fn settle_one(self: &Arc<Self>, container: &Arc<Container>) {
        let record = container.record();
        match record.state.status {
            Status::Running | Status::Paused => self.ask_after(container).await,
            Status::Removing | Status::Dead => {
                let removed = self
                    .remove(
                        container,
                        remove::Options {
                            force: true,
                            volumes: record.host_config.auto_remove,
                        },
                    )
                    .await;
                if let Err(error) = removed {
                    tracing::warn!(container = %container.id, %error, "not removed");
                }
            }
            Status::Exited if record.host_config.auto_remove => {
                let removed = self
                    .remove(
                        container,
                        remove::Options {
                            force: true,
                            volumes: true,
                        },
                    )
                    .await;
                if let Err(error) = removed {
                    tracing::warn!(container = %container.id, %error, "not removed");
                }
            }
            Status::Created | Status::Exited | Status::Restarting => {
                // A run may have begun that the record does not know of yet.
                let turn = container.turn.lock().await;
                let record = container.record();
                if record.state.is_running() || record.state.status == Status::Removing {
                    // A client was faster.
                    return;
                }
                self.clean_up(container, &record).await;
                drop(turn);
                let policy = &record.host_config.restart_policy;
                let stopped = record.stopped_by_user && policy.name != "always";
                let wanted = record.started_once
                    && should_restart(policy, record.state.exit_code, record.restart_count, stopped);
                if wanted || record.state.status == Status::Restarting {
                    container.change_anyway(|record| record.state.status = Status::Restarting);
                    container.life.send_modify(|life| life.running = true);
                    Arc::clone(self)
                        .restart_later(Arc::clone(container), std::time::Duration::ZERO)
                        .await;
                }
            }
        }
    }

    /// A directory without a record that can be read: when there is no record at all, create was cut off before it wrote one, and the
    /// directory goes; otherwise it is kept under another name, for a person to look at.
    async fn set_aside(&self, id: &str, reason: &str) -> Result<()> {
        if id.len() == 64 && !self.store.directory(id).join("config.v2.json").exists() {
            self.remove_snapshot(id).await?;
            return self.store.remove(id);
        }
        tracing::error!(container = id, reason, "record cannot be read; it is left where it is");
        Ok(())
    }
}

/// After a break of the event stream: every container that is thought to run is asked after.
pub(super) async fn reconcile(engine: &Arc<Engine>) {
    for container in engine.containers.all() {
        if container.record().state.is_running() {
            engine.ask_after(&container).await;
        }
    }
}
