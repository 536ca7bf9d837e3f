//! Execs: further processes in a container that runs. They live in memory: a daemon that is killed forgets them, and they go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_proto::containerd::services::tasks::v1::{DeleteProcessRequest, ExecProcessRequest};
use containerd_proto::type_urls;
use prost_types::Any;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::container::Container;
use super::model::{Record, Status};
use super::rootfs::Root;
use super::spec::{self, User};
use super::start::{shim_attach, start_exit_code};
use super::streams::{Streams, Wiring};
use super::{Engine, blocking, names, users};
use crate::error::{Error, Result};

/// The body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ExecConfig {
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) console_size: Option<[u32; 2]>,
    pub(crate) detach_keys: String,
    pub(crate) tty: bool,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) privileged: bool,
    pub(crate) user: String,
    pub(crate) working_dir: String,
}

/// Where an exec stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecState {
    pub(crate) running: bool,
    pub(crate) exit_code: Option<i64>,
    pub(crate) pid: u32,
}

/// A process that was asked for.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) config: ExecConfig,
    pub(crate) streams: Arc<Streams>,
    state: Mutex<ExecState>,
    started: AtomicBool,
    /// Canceled when the start is over, well or badly.
    begun: CancellationToken,
}

impl Exec {
    /// Where it stands.
    pub(crate) fn state(&self) -> ExecState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state().running
    }

    fn change(&self, change: impl FnOnce(&mut ExecState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Most execs that ended and are still shown.
const KEPT: usize = 64;

impl Engine {
    /// An exec by its id.
    ///
    /// # Errors
    /// 404 `No such exec instance: x`.
    pub(crate) fn exec(&self, id: &str) -> Result<(Arc<Container>, Arc<Exec>)> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        let found = self
            .containers
            .all()
            .into_iter()
            .find_map(|container| container.exec(id).map(|exec| (container, exec)));
        found.ok_or_else(missing)
    }

    /// Writes down what is to be run.
    ///
    /// # Errors
    /// 409 when the container does not run or is paused; 400 without a command.
    pub(crate) fn create_exec(&self, container: &Arc<Container>, config: ExecConfig) -> Result<String> {
        let record = container.record();
        can_exec(&record)?;
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            return Err(Error::invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                config.working_dir
            )));
        }
        let id = names::new_id();
        let command = config.cmd.clone().unwrap_or_default().join(" ");
        let exec = Exec {
            streams: Streams::new(self.run_directory(&container.id).join(format!("exec-{}", &id[..16]))),
            id: id.clone(),
            config,
            state: Mutex::default(),
            started: AtomicBool::new(false),
            begun: CancellationToken::new(),
        };
        {
            let mut execs = container.execs.lock().unwrap_or_else(PoisonError::into_inner);
            if execs.len() >= KEPT {
                execs.retain(|_, exec| exec.state().exit_code.is_none());
            }
            execs.insert(id.clone(), Arc::new(exec));
        }
        self.container_event(&format!("exec_create: {command}"), &record, &[("execID", id.clone())]);
        Ok(id)
    }

    /// Runs it. Whoever is to hear its output listens to its streams already.
    ///
    /// # Errors
    /// 409 when it was started before; 400 with the runtime's words when the program cannot be run.
    pub(crate) async fn start_exec(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exec: &Arc<Exec>,
        attached: bool,
    ) -> Result<()> {
        let record = container.record();
        can_exec(&record)?;
        if exec.started.swap(true, Ordering::SeqCst) {
            return Err(Error::conflict(format!("exec command {} has already run", exec.id)));
        }
        exec.change(|state| state.running = true);
        let begun = exec.begun.clone().drop_guard();
        let outcome = self.run_exec(&record, exec, attached).await;
        drop(begun);
        let Err(error) = outcome else {
            let command = exec.config.cmd.clone().unwrap_or_default().join(" ");
            self.container_event(
                &format!("exec_start: {command}"),
                &record,
                &[("execID", exec.id.clone())],
            );
            return Ok(());
        };
        let code = start_exit_code(&error.message);
        // It may have been registered below.
        let _ = self
            .l3
            .tasks()
            .delete_process(DeleteProcessRequest {
                container_id: container.id.clone(),
                exec_id: exec.id.clone(),
            })
            .await;
        exec.streams.finish().await;
        exec.change(|state| (state.running, state.exit_code) = (false, Some(code)));
        Err(if matches!(code, 126 | 127) {
            Error::invalid(error.message)
        } else {
            error
        })
    }

    async fn run_exec(self: &Arc<Self>, record: &Arc<Record>, exec: &Arc<Exec>, attached: bool) -> Result<()> {
        let process = self.exec_process(record, exec).await?;
        let always = !self.is_ours(&record.host_config.runtime);
        let (tty, stdin) = (exec.config.tty, exec.config.attach_stdin && attached);
        let mut request = ExecProcessRequest {
            container_id: record.id.clone(),
            exec_id: exec.id.clone(),
            terminal: tty,
            spec: Some(Any {
                type_url: type_urls::PROCESS.to_owned(),
                value: serde_json::to_vec(&process).map_err(|e| Error::failed("process", e))?,
            }),
            ..ExecProcessRequest::default()
        };
        // A terminal needs somebody at its other end; without one, a process nobody is attached to has no streams.
        if attached || tty {
            exec.streams.open(Wiring {
                tty,
                stdin,
                always,
                log: None,
            })?;
            let (out, err) = (exec.streams.path("out"), (!tty).then(|| exec.streams.path("err")));
            if stdin {
                request.stdin = exec.streams.path("in").display().to_string();
            }
            request.stdout = if always {
                out.display().to_string()
            } else {
                shim_attach(&out, err.as_deref())
            };
            request.stderr = err
                .filter(|_| always)
                .map(|err| err.display().to_string())
                .unwrap_or_default();
        }
        self.l3.tasks().exec(request).await?;
        let pid = self.start_task(&record.id, &exec.id).await?;
        exec.change(|state| state.pid = pid);
        Ok(())
    }

    async fn exec_process(self: &Arc<Self>, record: &Arc<Record>, exec: &Arc<Exec>) -> Result<Value> {
        let (record, exec, engine) = (Arc::clone(record), Arc::clone(exec), Arc::clone(self));
        blocking(move || {
            let config = &exec.config;
            let mut host_config = record.host_config.clone();
            host_config.privileged |= config.privileged;
            let wanted = if config.user.is_empty() {
                &record.config.user
            } else {
                &config.user
            };
            let user = engine.exec_user(&record, wanted)?;
            let mut environment = spec::environment(&record.config, config.tty, "");
            spec::add_environment(&mut environment, config.env.iter().flatten());
            if !environment.iter().any(|pair| pair.starts_with("HOME=")) {
                environment.push(format!("HOME={}", user.home));
            }
            let own = record.config.working_dir.as_str();
            let cwd = [config.working_dir.as_str(), own, "/"]
                .into_iter()
                .find(|path| !path.is_empty())
                .unwrap_or("/");
            let capabilities = spec::exec_capabilities(&host_config, &engine.host)?;
            let args = config.cmd.clone().unwrap_or_default();
            let mut process =
                spec::exec_process(&args, &environment, cwd, config.tty, &user, &capabilities, &host_config)?;
            if let Some([height, width]) = config
                .console_size
                .filter(|[height, width]| config.tty && *height > 0 && *width > 0)
            {
                process["consoleSize"] = serde_json::json!({"height": height, "width": width});
            }
            Ok(process)
        })
        .await
    }

    /// Read from the running container's own files: they may have changed since it started.
    fn exec_user(&self, record: &Record, wanted: &str) -> Result<User> {
        let root = Root::of_process(record.state.pid)?;
        users::resolve(
            &root,
            wanted,
            record.host_config.group_add.as_deref().unwrap_or_default(),
        )
    }

    /// Tells an exec's terminal its size. A client does so as soon as it is attached, which is before the process is there.
    ///
    /// # Errors
    /// When it is not started within ten seconds, or has ended.
    pub(crate) async fn resize_exec(&self, container: &Container, exec: &Exec, height: u32, width: u32) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        tokio::time::timeout(PATIENCE, exec.begun.cancelled())
            .await
            .map_err(|_| Error::failed("resize", "timeout waiting for exec session ready"))?;
        self.resize(container, &exec.id, height, width).await
    }

    /// An exec ended.
    pub(crate) async fn on_exec_exit(self: &Arc<Self>, container: &Arc<Container>, exec: &Arc<Exec>, code: i64) {
        let request = DeleteProcessRequest {
            container_id: container.id.clone(),
            exec_id: exec.id.clone(),
        };
        if let Err(status) = self.l3.tasks().delete_process(request).await
            && status.code() != tonic::Code::NotFound
        {
            tracing::warn!(container = %container.id, exec = %exec.id, error = status.message(), "exec left");
        }
        // Known before the streams end: a client asks for the code as soon as they do.
        exec.change(|state| (state.running, state.exit_code, state.pid) = (false, Some(code), 0));
        exec.streams.finish().await;
        self.container_event(
            "exec_die",
            &container.record(),
            &[("execID", exec.id.clone()), ("exitCode", code.to_string())],
        );
    }
}

fn can_exec(record: &Record) -> Result<()> {
    match record.state.status {
        Status::Running => Ok(()),
        Status::Paused => Err(Error::conflict(format!(
            "container {} is paused, unpause the container before exec",
            record.id
        ))),
        Status::Restarting => Err(Error::conflict(format!(
            "container {} is restarting, wait until the container is running",
            record.id
        ))),
        _ => Err(Error::conflict(format!("container {} is not running", record.id))),
    }
}
