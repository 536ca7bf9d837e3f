//! An engine of a test's own, in the test's process, and clients over its memory.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each suite uses its part; a fixture fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_grpc::NAMESPACE_HEADER;
use containerd_grpc::containerd::services::containers::v1::containers_client::ContainersClient;
use containerd_grpc::containerd::services::content::v1::content_client::ContentClient;
use containerd_grpc::containerd::services::tasks::v1::tasks_client::TasksClient;
use containerd_proto::containerd::services::containers::v1 as containers;
use containerd_proto::containerd::services::tasks::v1 as tasks;
use containerd_proto::type_urls;
use containerd_rs::{Config, Engine};
use tonic::Request;
use tonic::transport::Channel;

/// Debian's shim, with Debian's runc.
pub(crate) const RUNTIME: &str = "io.containerd.runc.v2";

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    /// Part of the names of all that the test makes; its containerd namespace.
    pub(crate) mark: String,
    pub(crate) engine: Engine,
}

pub(crate) fn config(directory: &Path) -> Config {
    let mut config = Config::new(
        directory.join("root"),
        directory.join("state"),
        directory.join("c.sock"),
    );
    config.shim_directories.clear();
    config
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("eng").tempdir_in("/tmp").unwrap();
        let mark = directory
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches('.')
            .to_owned();
        let engine = Engine::start(config(directory.path())).await.unwrap();
        Fixture {
            directory,
            mark,
            engine,
        }
    }

    /// Ends the engine and starts another on the same directories.
    pub(crate) async fn restart(self) -> Self {
        let Fixture {
            directory,
            mark,
            engine,
        } = self;
        engine.shutdown().await;
        drop(engine);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match Engine::start(config(directory.path())).await {
                Ok(engine) => {
                    return Fixture {
                        directory,
                        mark,
                        engine,
                    };
                }
                // What the last engine had open goes with its last connection.
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert(NAMESPACE_HEADER, self.mark.parse().unwrap());
        request
    }

    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.engine.channel())
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.engine.channel())
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(16 << 20)
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.engine.channel())
    }

    /// Where the test's bundles are.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.directory
            .path()
            .join("state/io.containerd.runtime.v2.task")
            .join(&self.mark)
    }

    /// A directory with busybox, as the root of a container.
    pub(crate) fn rootfs(&self) -> PathBuf {
        let root = self.directory.path().join("rootfs");
        if !root.exists() {
            for part in ["bin", "proc", "dev"] {
                std::fs::create_dir_all(root.join(part)).unwrap();
            }
            std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        }
        root
    }

    /// Makes the record of a container that runs busybox.
    pub(crate) async fn container(&self, id: &str, command: &[&str]) {
        let args: Vec<_> = std::iter::once("/bin/busybox").chain(command.iter().copied()).collect();
        let spec = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": self.rootfs()},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.mark),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            },
        });
        let container = containers::Container {
            id: id.to_owned(),
            runtime: Some(containers::container::Runtime {
                name: RUNTIME.to_owned(),
                options: None,
            }),
            spec: Some(prost_types::Any {
                type_url: type_urls::SPEC.to_owned(),
                value: spec.to_string().into_bytes(),
            }),
            ..Default::default()
        };
        let request = self.request(containers::CreateContainerRequest {
            container: Some(container),
        });
        self.containers().create(request).await.unwrap();
    }

    pub(crate) async fn create_task(&self, id: &str) -> Result<u32, tonic::Status> {
        let request = tasks::CreateTaskRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        Ok(self.tasks().create(self.request(request)).await?.into_inner().pid)
    }

    pub(crate) async fn start_task(&self, id: &str) {
        let request = tasks::StartRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        self.tasks().start(self.request(request)).await.unwrap();
    }

    pub(crate) async fn kill(&self, id: &str) {
        let request = tasks::KillRequest {
            container_id: id.to_owned(),
            signal: 9,
            ..Default::default()
        };
        self.tasks().kill(self.request(request)).await.unwrap();
    }

    pub(crate) async fn wait(&self, id: &str) -> u32 {
        let request = tasks::WaitRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        self.tasks()
            .wait(self.request(request))
            .await
            .unwrap()
            .into_inner()
            .exit_status
    }

    pub(crate) async fn delete(&self, id: &str) -> u32 {
        let request = tasks::DeleteTaskRequest {
            container_id: id.to_owned(),
        };
        self.tasks()
            .delete(self.request(request))
            .await
            .unwrap()
            .into_inner()
            .exit_status
    }

    pub(crate) async fn status(&self, id: &str) -> Result<i32, tonic::Status> {
        let request = tasks::GetRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        Ok(self
            .tasks()
            .get(self.request(request))
            .await?
            .into_inner()
            .process
            .unwrap()
            .status)
    }

    /// Ends the engine; everything of the test must be gone by then.
    pub(crate) async fn finish(self) {
        let left: Vec<_> = std::fs::read_dir(self.bundles())
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.mark), "{mounts}");
        self.engine.shutdown().await;
        let parent = std::path::Path::new("/run/containerd/runc").join(&self.mark);
        let _ = std::fs::remove_dir(parent);
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.mark));
        }
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
