//! runc-rs in this process: no program is executed, no JSON is written and read back.
//!
//! Errors carry the prefixes that runc's command line puts before them, so that clients see the same text whichever way runc-rs or runc ran.

use std::path::{Path, PathBuf};

use containerd_proto::containerd::runc::v1::Options;
use oci_spec::runtime::{LinuxResources, Process};
use runc_rs::{CgroupManager, CreateOptions, Created, ExecOptions, Io, Runtime};

use super::{OciRuntime, RuntimeError, RuntimeIo, RuntimeResult, Spawned};

/// See the module.
#[derive(Debug)]
pub struct LinkedRuntime {
    runtime: Runtime,
    no_pivot_root: bool,
    no_new_keyring: bool,
    cgroup_manager: CgroupManager,
}

impl LinkedRuntime {
    /// runc-rs with its state in `root`.
    pub fn new(root: PathBuf, options: &Options) -> Self {
        Self {
            runtime: Runtime::new(root),
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            cgroup_manager: if options.systemd_cgroup {
                CgroupManager::Systemd
            } else {
                CgroupManager::Cgroupfs
            },
        }
    }
}

fn io(io: RuntimeIo) -> Io {
    match io {
        RuntimeIo::Fds { stdin, stdout, stderr } => Io::Fds { stdin, stdout, stderr },
        RuntimeIo::Terminal => Io::Terminal,
    }
}

fn spawned(created: Created) -> Spawned {
    for warning in &created.warnings {
        tracing::warn!(pid = created.pid, "{warning}");
    }
    Spawned {
        pid: created.pid,
        console: created.console,
    }
}

fn words(prefix: &'static str) -> impl Fn(runc_rs::Error) -> RuntimeError {
    move |error| RuntimeError(format!("{prefix}{error}"))
}

impl OciRuntime for LinkedRuntime {
    fn create(&self, id: &str, bundle: &Path, streams: RuntimeIo) -> RuntimeResult<Spawned> {
        let options = CreateOptions {
            io: io(streams),
            no_pivot: self.no_pivot_root,
            no_new_keyring: self.no_new_keyring,
            cgroup_manager: self.cgroup_manager,
            ..CreateOptions::new(bundle)
        };
        self.runtime
            .create(id, options)
            .map(spawned)
            .map_err(words("runc create failed: "))
    }

    fn start(&self, id: &str) -> RuntimeResult<()> {
        self.runtime.start(id).map_err(words(""))
    }

    fn exec(&self, id: &str, _exec_id: &str, process: &[u8], streams: RuntimeIo) -> RuntimeResult<Spawned> {
        let process: Process =
            serde_json::from_slice(process).map_err(|e| RuntimeError(format!("exec failed: process: {e}")))?;
        let options = ExecOptions {
            io: io(streams),
            ..ExecOptions::new(process)
        };
        self.runtime
            .exec(id, options)
            .map(spawned)
            .map_err(words("exec failed: "))
    }

    fn kill(&self, id: &str, signal: u32, all: bool) -> RuntimeResult<()> {
        let signal = i32::try_from(signal).map_err(|_| RuntimeError(format!("unknown signal {signal}")))?;
        self.runtime.kill(id, signal, all).map_err(words(""))
    }

    fn delete(&self, id: &str, force: bool) -> RuntimeResult<()> {
        self.runtime.delete(id, force).map_err(words(""))
    }

    fn pids(&self, id: &str) -> RuntimeResult<Vec<i32>> {
        self.runtime.processes(id).map_err(words(""))
    }

    fn pause(&self, id: &str) -> RuntimeResult<()> {
        self.runtime.pause(id).map_err(words(""))
    }

    fn resume(&self, id: &str) -> RuntimeResult<()> {
        self.runtime.resume(id).map_err(words(""))
    }

    fn update(&self, id: &str, resources: &[u8]) -> RuntimeResult<()> {
        let mut resources: LinuxResources =
            serde_json::from_slice(resources).map_err(|e| RuntimeError(format!("resources: {e}")))?;
        // As `runc update` has it: limits change, device rules do not.
        resources.set_devices(None);
        self.runtime.update(id, &resources).map_err(words(""))
    }

    fn features(&self) -> RuntimeResult<Vec<u8>> {
        serde_json::to_vec(&runc_rs::features()).map_err(|e| RuntimeError(e.to_string()))
    }
}
