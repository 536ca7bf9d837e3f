//! Hooks: programs of the host's administrator, run at points of a container's life with its state on their standard input.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::Error;
use crate::sys::process;
use crate::words::Words;

/// How much of a hook's output an error tells.
const OUTPUT_LIMIT: u64 = 2048;

/// The state a hook reads (runtime-spec, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) status: crate::Status,
    /// The container's process as the hook sees it; 0, and left out, when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) pid: i32,
    pub(crate) bundle: &'a std::path::Path,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) annotations: &'a std::collections::BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

/// Runs all hooks of a kind whose failure changes nothing any more; what failed is told in the words of a warning.
pub(crate) fn run_all(kind: &'static str, hooks: &[Hook], state: &HookState<'_>) -> Vec<String> {
    let failed = hooks.iter().enumerate().filter_map(|(index, hook)| {
        let result = run(kind, std::slice::from_ref(hook), state);
        result.err().map(|error| match error {
            Error::Hook { kind, message, .. } => Error::Hook { kind, index, message }.to_string(),
            error => error.to_string(),
        })
    });
    failed.collect()
}

/// Runs the hooks of one kind in order; the first that fails ends it.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &HookState<'_>) -> Result<(), Error> {
    run_for(None, kind, hooks, state)
}

/// As [`run`], for a container whose process is `watched` (a pidfd): when that ends there is nothing left to run hooks for, so a hook
/// that hangs is killed.
pub(crate) fn run_for(
    watched: Option<BorrowedFd<'_>>,
    kind: &'static str,
    hooks: &[Hook],
    state: &HookState<'_>,
) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let input = serde_json::to_vec(state).map_err(|error| Error::Hook {
        kind,
        index: 0,
        message: error.to_string(),
    })?;
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &input, watched).map_err(|message| Error::Hook { kind, index, message })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, input: &[u8], watched: Option<BorrowedFd<'_>>) -> Result<(), String> {
    let say = |error: &std::io::Error| Words(error).to_string();
    let mut stdin = memory("hook-stdin").map_err(|e| say(&e))?;
    stdin
        .write_all(input)
        .and_then(|()| stdin.seek(SeekFrom::Start(0)))
        .map_err(|e| say(&e))?;
    let stdout = memory("hook-stdout").map_err(|e| say(&e))?;
    let stderr = memory("hook-stderr").map_err(|e| say(&e))?;
    let shared = |file: &File| file.try_clone().map(Stdio::from).map_err(|e| say(&e));

    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    command
        .env_clear()
        .stdin(Stdio::from(stdin))
        .stdout(shared(&stdout)?)
        .stderr(shared(&stderr)?);
    if let Some((name, rest)) = args.split_first() {
        use std::os::unix::process::CommandExt;
        command.arg0(name).args(rest);
    }
    for entry in hook.env().iter().flatten() {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    // What the caller of the runtime left open, or hands to the container, is not the hook's.
    process::closes_inherited(&mut command);
    let mut child = command
        .spawn()
        .map_err(|e| format!("fork/exec {}: {}", hook.path().display(), say(&e)))?;
    let limit = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    let end = if limit.is_some() || watched.is_some() {
        wait_for_end(&child, limit.map(Duration::from_secs), watched).map_err(|e| say(&e))?
    } else {
        End::Hook
    };
    if end != End::Hook {
        // Already gone is as good as killed.
        let _ = child.kill();
        let _ = child.wait();
    }
    match end {
        End::Limit => {
            let seconds = limit.unwrap_or_default();
            return Err(format!("hook ran past specified timeout of {seconds}.0s"));
        }
        End::Watched => return Err("the container's process ended before the hook".into()),
        End::Hook => {}
    }
    let status = child.wait().map_err(|e| say(&e))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "{}, stdout: {}, stderr: {}",
        exit_words(status),
        read_back(stdout),
        read_back(stderr)
    ))
}

/// A file in memory: a hook that leaves a daemon behind cannot keep us waiting for the end of a pipe.
fn memory(name: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

fn read_back(mut file: File) -> String {
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(OUTPUT_LIMIT).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => Words(&error).to_string(),
    }
}

fn exit_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => "unknown exit status".into(),
    }
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The hook ended.
    Hook,
    /// The time was up.
    Limit,
    /// The container's process ended.
    Watched,
}

fn wait_for_end(
    child: &std::process::Child,
    limit: Option<Duration>,
    watched: Option<BorrowedFd<'_>>,
) -> std::io::Result<End> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(rustix::io::Errno::SRCH)?;
    let pidfd: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        fds.extend(watched.as_ref().map(|watched| PollFd::new(watched, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(End::Limit),
            Ok(_) if fds.first().is_some_and(|hook| !hook.revents().is_empty()) => return Ok(End::Hook),
            Ok(_) => return Ok(End::Watched),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let json =
            serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["X=y"], "timeout": timeout});
        serde_json::from_value(json).unwrap()
    }

    fn run_script(script: &str, timeout: Option<i64>) -> Result<(), Error> {
        let annotations = BTreeMap::new();
        let state = HookState {
            oci_version: "1.2.0",
            id: "c",
            status: crate::Status::Creating,
            pid: 42,
            bundle: std::path::Path::new("/b"),
            annotations: &annotations,
        };
        run("prestart", &[hook(script, timeout)], &state)
    }

    #[test]
    fn the_state_is_on_standard_input_and_the_environment_is_the_hooks_own() {
        run_script(
            r#"read s; case "$s" in *'"pid":42'*) ;; *) exit 3;; esac; [ "$(env | grep -c HOME=)" = 0 ] && [ $X = y ]"#,
            None,
        )
        .unwrap();
    }

    #[test]
    fn a_failing_hook_is_told_with_its_output() {
        let error = run_script("echo out; echo err >&2; exit 7", None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "error running prestart hook #0: exit status 7, stdout: out\n, stderr: err\n"
        );
    }

    #[test]
    fn a_hook_that_hangs_is_killed() {
        let error = run_script("exec sleep 600", Some(1)).unwrap_err().to_string();
        assert!(error.contains("timeout of 1"), "{error}");
    }

    #[test]
    fn a_daemon_left_behind_does_not_keep_us() {
        run_script("sleep 30 & exit 0", None).unwrap();
    }
}
