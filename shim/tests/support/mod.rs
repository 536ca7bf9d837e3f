//! A small manager for one test: a bundle, an event service, and a shim that is spoken to directly.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test program uses a part"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use containerd_proto::containerd::task::v3::*;
use containerd_proto::containerd::types::Envelope;
use containerd_ttrpc::containerd::services::events::ttrpc::v1::{Events, EventsServer};
use containerd_ttrpc::containerd::task::v3::TaskClient;
use containerd_ttrpc::{Client, Context, Server, Status};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-runc-rs-v2");
pub const NAMESPACE: &str = "shim-test";
/// Long enough for a busy machine; only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

struct Listener(mpsc::UnboundedSender<Envelope>);

impl Events for Listener {
    async fn forward(&self, _: &Context, request: ForwardRequest) -> Result<(), Status> {
        let _ = self.0.send(request.envelope.unwrap_or_default());
        Ok(())
    }
}

/// One test's shim.
pub struct Shim {
    pub directory: tempfile::TempDir,
    pub bundle: PathBuf,
    pub id: String,
    pub task: TaskClient,
    pub client: Client,
    pub events: mpsc::UnboundedReceiver<Envelope>,
    sender: mpsc::UnboundedSender<Envelope>,
    server: Option<tokio::task::JoinHandle<()>>,
    pub pid: i32,
    pub context: Context,
    pub options: Options,
}

/// A directory of a test, with a root filesystem that has busybox.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("shim-test-").tempdir().unwrap()
}

pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("st{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn busybox(rootfs: &Path) {
    for directory in ["bin", "proc", "dev", "tmp", "etc", "sys"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "echo", "sleep", "true", "false", "seq", "dd", "head", "stty", "tail", "ls", "test", "kill",
    ] {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
}

pub fn config(id: &str, script: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(script),
        "root": {"path": "rootfs"},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    })
}

pub fn process(script: &str) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"})
}

pub fn fifo(path: &Path) -> fs::File {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .unwrap()
}

/// Runs the shim's program in a bundle.
pub fn run(bundle: &Path, arguments: &[&str], environment: &[(&str, &str)], stdin: &[u8]) -> Output {
    let mut child = Command::new(SHIM)
        .args(arguments)
        .current_dir(bundle)
        .env_remove("MAX_SHIM_VERSION")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

/// Polls until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Shim {
    /// A bundle that runs `script`, and a shim in it with the linked runtime.
    pub async fn new(script: &str) -> Self {
        Self::with(script, Options::default(), |_| {}).await
    }

    /// The same with runtime options and changes to the configuration.
    pub async fn with(script: &str, mut options: Options, change: impl FnOnce(&mut Value)) -> Self {
        let directory = directory();
        let (id, bundle) = (unique(), directory.path().join("bundle"));
        let mut config = config(&id, script);
        change(&mut config);
        fs::create_dir(&bundle).unwrap();
        busybox(&bundle.join("rootfs"));
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        if options.root.is_empty() {
            options.root = directory.path().join("runtime").display().to_string();
        }
        let (sender, events) = mpsc::unbounded_channel();
        let address = directory.path().join("c.sock");
        let ttrpc = directory.path().join("c.sock.ttrpc");
        let arguments = [
            "-namespace",
            NAMESPACE,
            "-id",
            &id,
            "-address",
            address.to_str().unwrap(),
            "-debug",
            "start",
        ];
        let output = run(&bundle, &arguments, &[("TTRPC_ADDRESS", ttrpc.to_str().unwrap())], b"");
        assert!(output.status.success(), "{output:?}");
        let answer = String::from_utf8(output.stdout).unwrap();
        let socket = answer.strip_prefix("unix://").unwrap_or_else(|| panic!("{answer}"));
        let client = Client::connect(Path::new(socket)).await.unwrap();
        let task = TaskClient::new(client.clone());
        let context = Context::namespace(NAMESPACE).with_timeout(PATIENCE);
        let request = ConnectRequest { id: id.clone() };
        let pid = task.connect(&context, &request).await.unwrap().shim_pid.cast_signed();
        let mut shim = Self {
            directory,
            bundle,
            id,
            task,
            client,
            events,
            sender,
            server: None,
            pid,
            context,
            options,
        };
        shim.listen();
        shim
    }

    /// Serves events from now on.
    pub fn listen(&mut self) {
        let path = self.directory.path().join("c.sock.ttrpc");
        let _ = fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let service = Arc::new(EventsServer::new(Arc::new(Listener(self.sender.clone()))));
        let server = Server::new().with("containerd.services.events.ttrpc.v1.Events", service);
        self.server = Some(tokio::spawn(async move { server.serve(listener).await.unwrap() }));
    }

    /// No events any more, as when the manager is killed before it has any connection.
    pub fn deaf(&mut self) {
        self.server.take().unwrap().abort();
        fs::remove_file(self.directory.path().join("c.sock.ttrpc")).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        let address = fs::read_to_string(self.bundle.join("address")).unwrap();
        PathBuf::from(address.strip_prefix("unix://").unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub fn create_request(&self, stdout: &str, stderr: &str) -> CreateTaskRequest {
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            options: Some(containerd_proto::pack(&self.options)),
            ..CreateTaskRequest::default()
        }
    }

    pub async fn create(&self, stdout: &str, stderr: &str) -> u32 {
        self.task
            .create(&self.context, &self.create_request(stdout, stderr))
            .await
            .unwrap()
            .pid
    }

    pub async fn start(&self, exec_id: &str) -> Result<u32, Status> {
        let request = StartRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        self.task
            .start(&self.context, &request)
            .await
            .map(|response| response.pid)
    }

    pub async fn wait(&self, exec_id: &str) -> Result<u32, Status> {
        let request = WaitRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        self.task
            .wait(&self.context, &request)
            .await
            .map(|response| response.exit_status)
    }

    pub async fn kill(&self, exec_id: &str, signal: u32) -> Result<(), Status> {
        let request = KillRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            signal,
            all: false,
        };
        self.task.kill(&self.context, &request).await
    }

    pub async fn delete(&self, exec_id: &str) -> Result<DeleteResponse, Status> {
        let request = DeleteRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        self.task.delete(&self.context, &request).await
    }

    pub async fn state(&self, exec_id: &str) -> Result<StateResponse, Status> {
        let request = StateRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        self.task.state(&self.context, &request).await
    }

    pub async fn exec(&self, exec_id: &str, script: &str, stdout: &str) -> Result<(), Status> {
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            stdout: stdout.to_owned(),
            spec: Some(prost_types::Any {
                type_url: containerd_proto::type_urls::PROCESS.to_owned(),
                value: process(script).to_string().into_bytes(),
            }),
            ..ExecProcessRequest::default()
        };
        self.task.exec(&self.context, &request).await
    }

    /// The next event.
    pub async fn event(&mut self) -> Envelope {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("no event")
            .unwrap()
    }

    /// The topics of the next events.
    pub async fn topics(&mut self, count: usize) -> Vec<String> {
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(self.event().await.topic);
        }
        topics
    }

    pub fn is_alive(&self) -> bool {
        is_alive(self.pid)
    }

    /// Ends the shim and looks for what it left.
    pub async fn end(mut self) {
        let socket = self.socket();
        self.task
            .shutdown(
                &self.context,
                &ShutdownRequest {
                    id: self.id.clone(),
                    now: false,
                },
            )
            .await
            .unwrap();
        let pid = self.pid;
        until("the end of the shim", || !is_alive(pid)).await;
        assert!(!socket.exists());
        self.assert_clean();
        self.pid = 0;
    }

    /// Nothing is left of the container.
    pub fn assert_clean(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap();
        assert!(!mounts.contains(directory), "{mounts}");
        let state = Path::new(&self.options.root).join(NAMESPACE);
        let left: Vec<_> = fs::read_dir(state)
            .map(|entries| entries.flatten().map(|e| e.path()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
        for controller in ["memory", "pids", "devices", "freezer", "unified", "."] {
            let cgroup = Path::new("/sys/fs/cgroup").join(controller).join(&self.id);
            assert!(!cgroup.exists(), "{cgroup:?}");
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if self.pid == 0 {
            return;
        }
        // A test failed half-way, or does not care for its end.
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let bundle = self.bundle.to_str().unwrap();
        run(
            &self.bundle,
            &["-namespace", NAMESPACE, "-id", &self.id, "-bundle", bundle, "delete"],
            &[],
            b"",
        );
        let _ = fs::remove_file(self.socket());
    }
}

pub fn is_alive(pid: i32) -> bool {
    // A zombie has no program.
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// What a fifo has, until the end of file or `enough` says so.
pub async fn read_all(file: fs::File, mut enough: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    use std::io::Read as _;
    let mut file = file;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 65536]);
    let end = Instant::now() + PATIENCE;
    while !enough(&all) {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(e) => panic!("{e}"),
        }
        assert!(Instant::now() < end, "too little: {:?}", String::from_utf8_lossy(&all));
    }
    all
}
