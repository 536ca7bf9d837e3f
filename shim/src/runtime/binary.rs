//! Any OCI runtime program with runc's command line: runc, crun, youki, runc-rs itself.
//!
//! Errors are read as containerd reads them: the last message of level `error` in the JSON log of the call. Each call has a log of its own, so
//! that calls at the same time cannot take each other's errors; that of a failed one stays in the bundle as `log.json`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_proto::containerd::runc::v1::Options;
use serde::Deserialize;

use super::console::ConsoleSocket;
use super::{OciRuntime, RuntimeError, RuntimeIo, RuntimeResult, Spawned};

/// See the module.
#[derive(Debug)]
pub struct BinaryRuntime {
    program: PathBuf,
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    no_pivot_root: bool,
    no_new_keyring: bool,
    calls: AtomicU64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LogLine {
    level: String,
    msg: String,
}

/// Removes a file of one call.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

impl BinaryRuntime {
    /// The program that `options` name, with its state in `root` and its logs in `bundle`.
    pub fn new(root: PathBuf, bundle: &Path, options: &Options) -> Self {
        let name = if options.binary_name.is_empty() {
            "runc"
        } else {
            &options.binary_name
        };
        Self {
            program: name.into(),
            root,
            bundle: bundle.to_owned(),
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            calls: AtomicU64::new(0),
        }
    }

    /// Runs one command and returns what it printed; `prepare` adds arguments and streams.
    fn call(&self, subcommand: &str, prepare: impl FnOnce(&mut Command)) -> RuntimeResult<Output> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let log = self.bundle.join(format!(".log-{}-{number}.json", std::process::id()));
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
            .arg(subcommand)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let temporary = Temporary(log);
        let child = command.spawn();
        // Streams of the child that the command holds are closed with it: they are the container's.
        drop(command);
        let output = child
            .and_then(std::process::Child::wait_with_output)
            .map_err(|e| self.cannot_run(&e))?;
        if output.status.success() {
            return Ok(output);
        }
        let message = last_error(&temporary.0).unwrap_or_else(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", exit_text(&output), stderr.trim())
                .trim_end_matches(": ")
                .to_owned()
        });
        // Kept for people; the message says it all.
        let _ = fs::rename(&temporary.0, self.bundle.join("log.json"));
        Err(RuntimeError(message))
    }

    /// Go's words for a program that cannot be executed, on which clients match.
    fn cannot_run(&self, error: &std::io::Error) -> RuntimeError {
        let program = self.program.display();
        let text = match error.kind() {
            std::io::ErrorKind::NotFound if !self.program.is_absolute() => {
                format!("exec: \"{program}\": executable file not found in $PATH")
            }
            std::io::ErrorKind::NotFound => format!("fork/exec {program}: no such file or directory"),
            std::io::ErrorKind::PermissionDenied => format!("fork/exec {program}: permission denied"),
            _ => format!("fork/exec {program}: {error}"),
        };
        RuntimeError(text)
    }

    /// A call that makes a process: its streams go to the process, its id comes in a file, its terminal over a socket.
    fn spawn(
        &self,
        subcommand: &str,
        pid_file: &Path,
        io: RuntimeIo,
        arguments: impl FnOnce(&mut Command),
    ) -> RuntimeResult<Spawned> {
        let console = match &io {
            RuntimeIo::Terminal => Some(
                ConsoleSocket::new()
                    .map_err(|e| RuntimeError(format!("failed to create OCI runtime console socket: {e}")))?,
            ),
            RuntimeIo::Fds { .. } => None,
        };
        self.call(subcommand, |command| {
            command.arg("--pid-file").arg(pid_file);
            match io {
                RuntimeIo::Fds { stdin, stdout, stderr } => {
                    command.stdin(stdin).stdout(stdout).stderr(stderr);
                }
                // Pipes for the program's own words would be inherited by what it leaves behind, and we would wait for that.
                RuntimeIo::Terminal => {
                    command.stdout(Stdio::null()).stderr(Stdio::null());
                }
            }
            if let Some(console) = &console {
                command.arg("--console-socket").arg(console.path());
            }
            arguments(command);
        })?;
        let text = fs::read_to_string(pid_file).unwrap_or_default();
        let pid = text.trim().parse().map_err(|_| {
            RuntimeError(format!(
                "failed to retrieve OCI runtime container pid: {}: {text:?}",
                pid_file.display()
            ))
        })?;
        let console = console
            .map(ConsoleSocket::receive)
            .transpose()
            .map_err(|e| RuntimeError(format!("failed to retrieve console master: {e}")))?;
        Ok(Spawned { pid, console })
    }

    fn simple(&self, subcommand: &str, arguments: &[&str]) -> RuntimeResult<Output> {
        self.call(subcommand, |command| {
            command.args(arguments);
        })
    }
}

impl OciRuntime for BinaryRuntime {
    fn create(&self, id: &str, bundle: &Path, io: RuntimeIo) -> RuntimeResult<Spawned> {
        let created = self.spawn("create", &bundle.join("init.pid"), io, |command| {
            if self.no_pivot_root {
                command.arg("--no-pivot");
            }
            if self.no_new_keyring {
                command.arg("--no-new-keyring");
            }
            command.arg("--bundle").arg(bundle).arg(id);
        });
        if created.is_err() {
            // A container that was made but did not hand over its pid or terminal must not stay; if none was made, this fails.
            let _ = self.delete(id, true);
        }
        created
    }

    fn start(&self, id: &str) -> RuntimeResult<()> {
        self.simple("start", &[id]).map(drop)
    }

    fn exec(&self, id: &str, exec_id: &str, process: &[u8], io: RuntimeIo) -> RuntimeResult<Spawned> {
        let name = file_name(exec_id);
        let spec = Temporary(self.bundle.join(format!(".{name}.process.json")));
        let pid_file = Temporary(self.bundle.join(format!("{name}.pid")));
        let mut options = fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&spec.0);
        file.and_then(|mut file| file.write_all(process))
            .map_err(|e| RuntimeError(format!("write {}: {e}", spec.0.display())))?;
        self.spawn("exec", &pid_file.0, io, |command| {
            command.arg("--process").arg(&spec.0).arg("--detach").arg(id);
        })
    }

    fn kill(&self, id: &str, signal: u32, all: bool) -> RuntimeResult<()> {
        let signal = signal.to_string();
        let all: &[&str] = if all { &["--all"] } else { &[] };
        self.simple("kill", &[all, &[id, &signal]].concat()).map(drop)
    }

    fn delete(&self, id: &str, force: bool) -> RuntimeResult<()> {
        let force: &[&str] = if force { &["--force"] } else { &[] };
        self.simple("delete", &[force, &[id]].concat()).map(drop)
    }

    fn pids(&self, id: &str) -> RuntimeResult<Vec<i32>> {
        let output = self.simple("ps", &["--format", "json", id])?;
        let pids: Option<Vec<i32>> = serde_json::from_slice(&output.stdout)
            .map_err(|e| RuntimeError(format!("{} ps: {e}", self.program.display())))?;
        Ok(pids.unwrap_or_default())
    }

    fn pause(&self, id: &str) -> RuntimeResult<()> {
        self.simple("pause", &[id]).map(drop)
    }

    fn resume(&self, id: &str) -> RuntimeResult<()> {
        self.simple("resume", &[id]).map(drop)
    }

    fn update(&self, id: &str, resources: &[u8]) -> RuntimeResult<()> {
        let (read, mut write) = std::io::pipe().map_err(|e| RuntimeError(format!("pipe: {e}")))?;
        // Limits are far smaller than a pipe's buffer; what does not fit would block for ever.
        if resources.len() > 32 * 1024 {
            return Err(RuntimeError(format!(
                "resources of {} bytes are too long",
                resources.len()
            )));
        }
        write
            .write_all(resources)
            .map_err(|e| RuntimeError(format!("pipe: {e}")))?;
        drop(write);
        self.call("update", |command| {
            command.args(["--resources", "-", id]).stdin(read);
        })
        .map(drop)
    }

    fn features(&self) -> RuntimeResult<Vec<u8>> {
        self.simple("features", &[]).map(|output| output.stdout)
    }
}

/// An exec id as part of a file name: managers choose them freely.
fn file_name(exec_id: &str) -> String {
    exec_id
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' {
                char::from(b)
            } else {
                '_'
            }
        })
        .collect()
}

/// The last error in a log of JSON objects; anything else in it is skipped.
fn last_error(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let lines = serde_json::Deserializer::from_slice(&text).into_iter::<LogLine>();
    let errors = lines.map_while(Result::ok).filter(|line| line.level == "error");
    errors
        .last()
        .map(|line| line.msg.trim().to_owned())
        .filter(|msg| !msg.is_empty())
}

fn exit_text(output: &Output) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => output.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(directory: &Path, program: &str) -> BinaryRuntime {
        let options = Options {
            binary_name: program.into(),
            ..Options::default()
        };
        BinaryRuntime::new(directory.join("root"), directory, &options)
    }

    #[test]
    fn the_last_error_of_the_log_counts() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::write(&log, "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"last \"}\n{\"level\":\"warning\",\"msg\":\"w\"}\n").unwrap();
        assert_eq!(last_error(&log).as_deref(), Some("last"));
        fs::write(&log, "no json").unwrap();
        assert_eq!(last_error(&log), None);
    }

    #[test]
    fn real_runtimes_say_that_a_container_does_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let error = runtime(directory.path(), "runc").start("none-such").unwrap_err();
        assert!(error.0.contains("container does not exist"), "{error}");
        assert!(directory.path().join("log.json").exists());
        assert!(error.is_unknown_container());
        let error = runtime(directory.path(), "crun").start("none-such").unwrap_err();
        assert!(error.is_unknown_container(), "{error}");
        let left = fs::read_dir(directory.path())
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_missing_program_is_told_in_gos_words() {
        let directory = tempfile::tempdir().unwrap();
        let error = runtime(directory.path(), "no-such-runtime").start("c").unwrap_err();
        assert_eq!(error.0, "exec: \"no-such-runtime\": executable file not found in $PATH");
        let error = runtime(directory.path(), "/no/such").start("c").unwrap_err();
        assert_eq!(error.0, "fork/exec /no/such: no such file or directory");
    }

    #[test]
    fn exec_ids_are_no_paths() {
        assert_eq!(file_name("../../etc/x"), "______etc_x");
    }
}
