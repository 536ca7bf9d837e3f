//! Running a shim's program: `start`, `delete` and `-info`.
//!
//! There are two start protocols, and no shim says which one it wants. The older (runtime options as an `Any` on standard input)
//! is tried first: every shim before containerd 2.3 knows only that, and ours knows both. One that refuses it, as containerd's own of
//! 2.3 and later do, gets the newer (`BootstrapParams`), and is remembered with the date of its file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, Extension, LogLevel};
use containerd_proto::containerd::task::v3::DeleteResponse;
use containerd_proto::containerd::types::RuntimeInfo;
use containerd_rs_core::{Error, Result};
use prost::Message;
use prost_types::Any;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::answer::Answer;
use super::bundle::Bundle;
use crate::{Config, VERSION};

/// How long a `start` may take. On a machine with a thousand containers to start, it does.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a `delete` may take.
const DELETE_LIMIT: Duration = Duration::from_secs(30);
/// How long `-info` may take.
const INFO_LIMIT: Duration = Duration::from_secs(10);
/// What a shim may print, in bytes; the rest is dropped.
const OUTPUT_LIMIT: u64 = 256 << 10;
/// What shims get of our environment: where programs are, and how to behave. Everything else is ours alone.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "TZ",
    "LANG",
    "XDG_RUNTIME_DIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "GOTRACEBACK",
];

/// How a shim takes its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// Flags, environment, and options on standard input.
    Legacy,
    /// `BootstrapParams` on standard input; flags and environment as well.
    Bootstrap,
}

/// Starts shims.
#[derive(Debug)]
pub(crate) struct Launcher {
    address: PathBuf,
    ttrpc_address: PathBuf,
    debug: bool,
    sched_core: bool,
    own: PathBuf,
    newer: Mutex<HashMap<PathBuf, Option<SystemTime>>>,
}

/// What a finished program left.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    fn said(&self) -> String {
        let both = [self.stderr.as_slice(), self.stdout.as_slice()].concat();
        String::from_utf8_lossy(&both).trim().to_owned()
    }
}

impl Launcher {
    pub(crate) fn new(config: &Config) -> Self {
        Launcher {
            address: config.address.clone(),
            ttrpc_address: config.ttrpc_address.clone(),
            debug: config.debug,
            sched_core: config.sched_core,
            own: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("containerd-rs")),
            newer: Mutex::default(),
        }
    }

    /// The gRPC address that shims are told of, and name their sockets by.
    pub(crate) fn address(&self) -> &Path {
        &self.address
    }

    /// Starts the shim of a bundle, or finds the one that serves its group already.
    ///
    /// # Errors
    /// What the shim printed; `Unavailable` when it takes too long.
    pub(crate) async fn start(&self, binary: &Path, bundle: &Bundle, options: Option<&Any>) -> Result<Answer> {
        let protocol = self.protocol(binary);
        let output = self.start_with(protocol, binary, bundle, options).await?;
        if output.status.success() {
            return Answer::parse(&output.stdout);
        }
        let said = output.said();
        if protocol == Protocol::Legacy && wants_bootstrap(&said) {
            let output = self.start_with(Protocol::Bootstrap, binary, bundle, options).await?;
            if output.status.success() {
                self.remember(binary);
                return Answer::parse(&output.stdout);
            }
            return Err(Error::Internal(format!("{}: {}", output.said(), output.status)));
        }
        Err(Error::Internal(format!("{said}: {}", output.status)))
    }

    async fn start_with(
        &self,
        protocol: Protocol,
        binary: &Path,
        bundle: &Bundle,
        options: Option<&Any>,
    ) -> Result<Output> {
        let mut command = self.command(binary, bundle);
        command.current_dir(&bundle.path).arg("start");
        let input = match protocol {
            Protocol::Legacy => options.map(Message::encode_to_vec).unwrap_or_default(),
            Protocol::Bootstrap => self.params(bundle, options).encode_to_vec(),
        };
        run(command, input, START_LIMIT).await
    }

    /// Has the program clean up after a shim that is gone, and tell how the task ended.
    ///
    /// # Errors
    /// What the program printed; `Unavailable` when it takes too long.
    pub(crate) async fn delete(&self, binary: &Path, bundle: &Bundle) -> Result<DeleteResponse> {
        let mut command = self.command(binary, bundle);
        command
            .arg("-bundle")
            .arg(&bundle.path)
            .current_dir(&bundle.path)
            .arg("delete");
        let output = run(command, Vec::new(), DELETE_LIMIT).await?;
        if !output.status.success() {
            return Err(Error::Internal(format!("{}: {}", output.said(), output.status)));
        }
        if !output.stderr.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::debug!(
                id = bundle.id,
                namespace = bundle.namespace,
                said = said.trim(),
                "shim's delete"
            );
        }
        let unreadable = |e| Error::Internal(format!("the answer of {} delete: {e}", binary.display()));
        DeleteResponse::decode(output.stdout.as_slice()).map_err(unreadable)
    }

    /// Asks the program who it is and what its runtime can do.
    ///
    /// # Errors
    /// What the program printed; `Unavailable` when it takes too long.
    pub(crate) async fn info(&self, binary: &Path, options: Option<Any>) -> Result<RuntimeInfo> {
        let mut command = Command::new(binary);
        inherit(&mut command);
        command.arg("-info");
        let input = options.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let output = run(command, input, INFO_LIMIT).await?;
        if !output.status.success() {
            return Err(Error::Internal(format!(
                "{} -info: {}: {}",
                binary.display(),
                output.said(),
                output.status
            )));
        }
        let unreadable = |e| Error::Internal(format!("the answer of {} -info: {e}", binary.display()));
        RuntimeInfo::decode(output.stdout.as_slice()).map_err(unreadable)
    }

    fn command(&self, binary: &Path, bundle: &Bundle) -> Command {
        let mut command = Command::new(binary);
        inherit(&mut command);
        command
            .env("GOMAXPROCS", "2")
            .env("MAX_SHIM_VERSION", "2")
            .env("TTRPC_ADDRESS", &self.ttrpc_address)
            .env("GRPC_ADDRESS", &self.address)
            .env("NAMESPACE", &bundle.namespace);
        if self.sched_core {
            command.env("SCHED_CORE", "1");
        }
        command.args(["-namespace", &bundle.namespace]);
        command
            .arg("-address")
            .arg(&self.address)
            .arg("-publish-binary")
            .arg(&self.own);
        command.args(["-id", &bundle.id]);
        if self.debug {
            command.arg("-debug");
        }
        command
    }

    fn params(&self, bundle: &Bundle, options: Option<&Any>) -> BootstrapParams {
        let level = if self.debug { LogLevel::Debug } else { LogLevel::Info };
        BootstrapParams {
            instance_id: bundle.id.clone(),
            namespace: bundle.namespace.clone(),
            log_level: level.into(),
            containerd_version: VERSION.to_owned(),
            containerd_ttrpc_address: self.ttrpc_address.display().to_string(),
            containerd_grpc_address: self.address.display().to_string(),
            containerd_binary: self.own.display().to_string(),
            extensions: options
                .map(|value| Extension {
                    value: Some(value.clone()),
                })
                .into_iter()
                .collect(),
            ..BootstrapParams::default()
        }
    }

    fn protocol(&self, binary: &Path) -> Protocol {
        let newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        match newer.get(binary) {
            Some(date) if *date == modified(binary) => Protocol::Bootstrap,
            _ => Protocol::Legacy,
        }
    }

    fn remember(&self, binary: &Path) {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        newer.insert(binary.to_owned(), modified(binary));
    }
}

fn modified(binary: &Path) -> Option<SystemTime> {
    std::fs::metadata(binary).and_then(|found| found.modified()).ok()
}

/// Whether a shim's refusal is about the protocol.
fn wants_bootstrap(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("bootstrap") || said.contains("deprecated")
}

fn inherit(command: &mut Command) {
    command.env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Runs a program in a process group of its own, with something on its standard input, until it ends. What it started may go on.
async fn run(mut command: Command, input: Vec<u8>, limit: Duration) -> Result<Output> {
    let program = PathBuf::from(command.as_std().get_program());
    command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|e| Error::io(format!("start {}", program.display()), e))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read it has no use for it.
            let _ = stdin.write_all(&input).await;
        }
    });
    let (stdout, stderr) = (tokio::spawn(read(stdout)), tokio::spawn(read(stderr)));
    let ended = tokio::time::timeout(limit, child.wait()).await;
    feed.abort();
    let Ok(ended) = ended else {
        return Err(Error::Unavailable(format!(
            "{} did not end within {limit:?}",
            program.display()
        )));
    };
    let status = ended.map_err(|e| Error::io(format!("wait for {}", program.display()), e))?;
    Ok(Output {
        status,
        stdout: rest(stdout).await,
        stderr: rest(stderr).await,
    })
}

/// What a pipe had to the end, or nothing when something that goes on keeps it open.
async fn rest(mut reading: tokio::task::JoinHandle<Vec<u8>>) -> Vec<u8> {
    match tokio::time::timeout(Duration::from_secs(2), &mut reading).await {
        Ok(read) => read.unwrap_or_default(),
        Err(_) => {
            reading.abort();
            Vec::new()
        }
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is what there is.
        let _ = (&mut pipe).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that acts as a shim's `start`.
    fn shim(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("shim");
        // Written by another process: a descriptor of ours, open for writing, may be in a child that another test forks right now, and
        // then the program is busy.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let mut shell = std::process::Command::new("sh");
        assert!(
            shell
                .args(["-c", write, "sh", script])
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn bundle(directory: &Path) -> Bundle {
        let places = super::super::bundle::Places::new(directory, &directory.join("state"));
        let bundle = places.bundle("ns", "c1");
        bundle.create(b"{}").unwrap();
        bundle
    }

    fn launcher(directory: &Path) -> Launcher {
        Launcher::new(&Config::new(
            directory,
            directory.join("state"),
            directory.join("a.sock"),
        ))
    }

    #[tokio::test]
    async fn start_passes_flags_environment_directory_and_options() {
        let directory = tempfile::tempdir().unwrap();
        let binary = shim(
            directory.path(),
            r#"echo "$@" > args; env > env; cat > stdin; pwd > cwd; echo unix:///x"#,
        );
        let bundle = bundle(directory.path());
        let options = Any {
            type_url: "t".into(),
            value: vec![1, 2],
        };
        let answer = launcher(directory.path())
            .start(&binary, &bundle, Some(&options))
            .await
            .unwrap();
        assert_eq!(answer.address, "unix:///x");
        let args = bundle.read("args").unwrap();
        assert!(
            args.starts_with("-namespace ns -address /") && args.ends_with("-id c1 start\n"),
            "{args}"
        );
        let env = bundle.read("env").unwrap();
        assert!(
            env.contains("a.sock.ttrpc") && env.contains("NAMESPACE=ns") && !env.contains("CARGO"),
            "{env}"
        );
        assert_eq!(
            std::fs::read(bundle.path.join("stdin")).unwrap(),
            options.encode_to_vec()
        );
        assert_eq!(bundle.read("cwd").unwrap().trim(), bundle.path.to_str().unwrap());
    }

    #[tokio::test]
    async fn shim_that_refuses_the_old_protocol_gets_the_new_one_and_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"echo x >> calls; cat > stdin
            grep -q c1 stdin || { echo "started through the deprecated API" >&2; exit 1; }
            echo '{"version":3,"address":"unix:///x","protocol":"ttrpc"}'"#;
        let binary = shim(directory.path(), script);
        let (bundle, launcher) = (bundle(directory.path()), launcher(directory.path()));
        assert_eq!(launcher.start(&binary, &bundle, None).await.unwrap().version, 3);
        launcher.start(&binary, &bundle, None).await.unwrap();
        assert_eq!(bundle.read("calls").unwrap(), "x\nx\nx\n", "old, new, new");
    }

    #[tokio::test]
    async fn what_a_failing_shim_prints_is_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let binary = shim(directory.path(), "echo no space >&2; exit 3");
        let error = launcher(directory.path())
            .start(&binary, &bundle(directory.path()), None)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "no space: exit status: 3: internal");
    }
}
