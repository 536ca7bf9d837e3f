//! Exits: heard from the event stream of the layer below, or found out by asking after a break in it.

use std::sync::Arc;
use std::time::Duration;

use containerd_proto::containerd::events::{TaskExit, TaskOom};
use containerd_proto::containerd::services::events::v1::{PublishRequest, SubscribeRequest};
use containerd_proto::containerd::types::Envelope;
use containerd_proto::containerd::v1::types::Status as TaskStatus;
use containerd_proto::{pack, unpack};
use tonic::Streaming;

use super::container::Container;
use super::model::{Record, RestartPolicy, Status};
use super::{Engine, now};
use crate::error::Result;

/// First wait of a restart policy.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A run this long starts the waits over.
const LONG_RUN: Duration = Duration::from_secs(10);

/// Topic of the event that shows that a subscription stands.
const KNOCK: &str = "/dockerd-rs/subscribed";

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i64,
    /// RFC 3339.
    pub(crate) at: String,
}

impl Exit {
    /// Of a run whose end nobody has seen.
    fn unknown() -> Self {
        Self { code: 255, at: now() }
    }
}

/// Begins to listen to the layer below, for as long as the daemon runs.
pub(super) async fn watch(engine: &Arc<Engine>) -> Result<()> {
    let mut stream = subscribe(engine).await?;
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(envelope)) => hear(&engine, &envelope),
                end => {
                    if let Err(status) = end {
                        tracing::warn!(error = status.message(), "event stream broke");
                    }
                    stream = subscribe_again(&engine).await;
                    // What happened meanwhile is asked for.
                    super::restore::reconcile(&engine).await;
                }
            }
        }
    });
    Ok(())
}

/// Subscribes, and knows that it has. A Go server answers a subscription with its first event only, so one of our own is sent until it comes
/// back.
async fn subscribe(engine: &Engine) -> Result<Streaming<Envelope>> {
    let namespace = &engine.config.namespace;
    let filters = vec![
        format!("namespace=={namespace},topic~=|^/tasks/|"),
        format!("namespace=={namespace},topic==\"{KNOCK}\""),
    ];
    let mut client = engine.l3.events();
    let subscribed = client.subscribe(SubscribeRequest { filters });
    let knock = async {
        loop {
            let request = PublishRequest {
                topic: KNOCK.to_owned(),
                event: Some(pack(&TaskOom::default())),
            };
            if let Err(status) = engine.l3.events().publish(request).await {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        stream = subscribed => Ok(stream?.into_inner()),
        status = knock => Err(status.into()),
    }
}

async fn subscribe_again(engine: &Engine) -> Streaming<Envelope> {
    loop {
        match subscribe(engine).await {
            Ok(stream) => return stream,
            Err(error) => {
                tracing::debug!(%error, "event stream");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn hear(engine: &Arc<Engine>, envelope: &Envelope) {
    let Some(event) = &envelope.event else { return };
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let Ok(exit) = unpack::<TaskExit>(event) else {
                return tracing::warn!("an exit that cannot be read");
            };
            let Some(container) = engine.containers.by_id(&exit.container_id) else {
                return;
            };
            let (engine, ended) = (
                Arc::clone(engine),
                Exit {
                    code: i64::from(exit.exit_status),
                    at: time(exit.exited_at),
                },
            );
            tokio::spawn(async move {
                if exit.id == exit.container_id {
                    engine.on_exit(&container, exit.pid, ended).await;
                } else if let Some(exec) = container.exec(&exit.id) {
                    engine.on_exec_exit(&container, &exec, ended.code).await;
                }
            });
        }
        "/tasks/oom" => {
            let Ok(oom) = unpack::<TaskOom>(event) else { return };
            if let Some(container) = engine.containers.by_id(&oom.container_id) {
                let record = container.change_anyway(|record| record.state.oom_killed = true);
                engine.container_event("oom", &record, &[]);
            }
        }
        _ => {}
    }
}

/// A point in time of the layer below.
pub(super) fn time(at: Option<prost_types::Timestamp>) -> String {
    let stamp = at.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok());
    stamp.map_or_else(now, |stamp| format!("{stamp:.9}"))
}

impl Engine {
    /// A run ended: what is left of it is taken away, and what the restart policy or `--rm` says is done.
    pub(crate) async fn on_exit(self: &Arc<Self>, container: &Arc<Container>, pid: u32, exit: Exit) {
        let turn = container.turn.lock().await;
        let before = container.record();
        // Told of twice, or of a run before this one.
        if !before.state.is_running() || before.state.pid != pid {
            return;
        }
        self.clean_up(container, &before).await;
        let wait = restart_after(&before, exit.code);
        let record = container.change_anyway(|record| {
            let state = &mut record.state;
            (state.pid, state.exit_code) = (0, exit.code);
            state.finished_at.clone_from(&exit.at);
            state.status = if wait.is_some() {
                Status::Restarting
            } else {
                Status::Exited
            };
            record.endpoints.clear();
            if wait.is_some() {
                record.restart_count += 1;
            }
        });
        tracing::info!(container = %container.id, code = exit.code, "exited");
        let duration = run_time(&before.state.started_at, &exit.at).as_secs().to_string();
        self.container_event(
            "die",
            &record,
            &[("exitCode", exit.code.to_string()), ("execDuration", duration)],
        );
        for endpoint in &before.endpoints {
            self.network_event("disconnect", endpoint);
        }
        container.life.send_modify(|life| {
            life.exits += 1;
            (life.exit_code, life.running) = (exit.code, wait.is_some());
        });
        drop(turn);
        if let Some(wait) = wait {
            tokio::spawn(Arc::clone(self).restart_later(Arc::clone(container), wait));
        } else if record.host_config.auto_remove {
            let removed = self
                .remove(
                    container,
                    super::remove::Options {
                        force: true,
                        volumes: true,
                    },
                )
                .await;
            if let Err(error) = removed {
                tracing::warn!(container = %container.id, %error, "not removed");
            }
        }
    }

    /// Starts a container again after a wait, unless somebody stops or removes it meanwhile.
    pub(crate) fn restart_later(
        self: Arc<Self>,
        container: Arc<Container>,
        wait: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = container.restart_wait.notified() => {}
            }
            let _turn = container.turn.lock().await;
            let record = container.record();
            if record.state.status != Status::Restarting {
                return;
            }
            if record.stopped_by_user {
                container.change_anyway(|record| record.state.status = Status::Exited);
                container.life.send_modify(|life| life.running = false);
                return;
            }
            if let Err(error) = self.start_in_turn(&container).await {
                tracing::warn!(container = %container.id, %error, "not restarted");
            }
        })
    }

    /// A run that the layer below no longer knows.
    pub(crate) async fn on_lost(self: &Arc<Self>, container: &Arc<Container>) {
        let pid = container.record().state.pid;
        self.on_exit(container, pid, Exit::unknown()).await;
    }

    /// Asks after a container that is thought to run.
    pub(crate) async fn ask_after(self: &Arc<Self>, container: &Arc<Container>) {
        match self.get_task(&container.id).await {
            Ok(Some(task)) if task.status() == TaskStatus::Stopped => {
                let pid = container.record().state.pid;
                self.on_exit(
                    container,
                    pid,
                    Exit {
                        code: i64::from(task.exit_status),
                        at: time(task.exited_at),
                    },
                )
                .await;
            }
            Ok(Some(_)) => {}
            Ok(None) => self.on_lost(container).await,
            // Unknown is not gone: it is kept, and asked after again with the next break of the stream.
            Err(error) => tracing::warn!(container = %container.id, %error, "state not known"),
        }
    }
}

/// How long to wait before it is started again; none when it stays down.
fn restart_after(record: &Record, code: i64) -> Option<Duration> {
    if !should_restart(
        &record.host_config.restart_policy,
        code,
        record.restart_count,
        record.stopped_by_user,
    ) {
        return None;
    }
    let long = run_time(&record.state.started_at, &now()) >= LONG_RUN;
    let doublings = if long { 0 } else { record.restart_count.min(10) };
    Some((FIRST_WAIT * 2u32.pow(doublings)).min(LONGEST_WAIT))
}

/// Whether the policy wants it up again.
pub(super) fn should_restart(policy: &RestartPolicy, code: i64, count: u32, stopped: bool) -> bool {
    if stopped {
        return false;
    }
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => code != 0 && (policy.maximum_retry_count == 0 || i64::from(count) < policy.maximum_retry_count),
        _ => false,
    }
}

fn run_time(started: &str, ended: &str) -> Duration {
    let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (Some(started), Some(ended)) = (parse(started), parse(ended)) else {
        return Duration::ZERO;
    };
    Duration::try_from(ended.duration_since(started)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let policy = |name: &str, most| RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: most,
        };
        assert!(should_restart(&policy("always", 0), 0, 9, false));
        assert!(!should_restart(&policy("always", 0), 0, 0, true));
        assert!(!should_restart(&policy("no", 0), 1, 0, false));
        assert!(should_restart(&policy("on-failure", 2), 1, 1, false));
        assert!(!should_restart(&policy("on-failure", 2), 1, 2, false));
        assert!(!should_restart(&policy("on-failure", 0), 0, 0, false));
    }
}
