//! A bundle with its container, gone when dropped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::subject::{Subject, open_for_all};
use super::trial::Stop;

/// How long a call of the runtime may take. Guests are slow, and a call that hangs must not take the run with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a call of the runtime said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; `None` for a signal, and for a call that took too long.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Whether it ended with 0.
    pub fn went_well(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether the runtime ended by itself with an error.
    pub fn refused(&self) -> bool {
        self.code.is_some_and(|code| code != 0)
    }

    /// The standard output of a call that has to go well.
    ///
    /// # Errors
    /// With all that it said, when it did not.
    pub fn ok(self) -> Result<String, Stop> {
        if self.went_well() {
            return Ok(self.out);
        }
        Err(format!("exit {:?}: {} {}", self.code, self.out.trim(), self.err.trim()).into())
    }
}

/// A bundle, and the container that is made of it.
pub struct Bundle<'a> {
    /// The runtime and the place.
    pub subject: &'a Subject,
    /// The bundle's directory.
    pub dir: PathBuf,
    /// The container's id.
    pub id: String,
    /// The configuration, written when the container is created.
    pub config: Value,
}

impl<'a> Bundle<'a> {
    /// A bundle with a busybox root filesystem.
    pub(crate) fn new(subject: &'a Subject) -> Self {
        let id = format!("{}-{}", subject.mark(), subject.number());
        let dir = subject.base.path().join(&id);
        let rootfs = dir.join("rootfs");
        for name in ["bin", "tmp", "etc", "proc", "sys", "dev", "run", "mnt"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        open_for_all(&dir);
        fs::hard_link(subject.skeleton.join("bin/busybox"), rootfs.join("bin/busybox")).unwrap();
        symlink("busybox", rootfs.join("bin/sh")).unwrap();
        let config = default_config(subject, &id);
        Self {
            subject,
            dir,
            id,
            config,
        }
    }

    /// The root filesystem.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Sets the field at a JSON pointer; objects that are missing on the way are made.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let mut place = &mut self.config;
        for key in pointer.trim_start_matches('/').split('/') {
            if place.is_null() {
                *place = json!({});
            }
            place = match (place.is_array(), key.parse::<usize>()) {
                (true, Ok(index)) => &mut place[index],
                _ => &mut place[key],
            };
        }
        *place = value;
        self
    }

    /// Adds to the array at a JSON pointer, which is made when it is missing.
    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Self {
        if self.config.pointer(pointer).is_none() {
            self.set(pointer, json!([]));
        }
        if let Some(Value::Array(array)) = self.config.pointer_mut(pointer) {
            array.push(value);
        }
        self
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        self.push(
            "/mounts",
            json!({"destination": destination, "type": kind, "source": source, "options": options}),
        )
    }

    /// Adds a namespace, made new; one of the same type that is there already is replaced.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind);
        let mut entry = json!({"type": kind});
        if let Some(path) = path {
            entry["path"] = json!(path);
        }
        self.push("/linux/namespaces", entry)
    }

    /// Takes a namespace out.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        if let Some(Value::Array(list)) = self.config.pointer_mut("/linux/namespaces") {
            list.retain(|entry| entry["type"] != kind);
        }
        self
    }

    /// The container's program is this shell script.
    pub fn script(&mut self, script: &str) -> &mut Self {
        self.set("/process/args", json!(["/bin/sh", "-c", script]))
    }

    /// Writes the configuration.
    pub fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    /// The runtime's command over this run's state, in the bundle's directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.subject.bare();
        command
            .arg("--root")
            .arg(&self.subject.state)
            .args(args)
            .current_dir(&self.dir);
        command
    }

    /// Calls the runtime and waits for it. Its output goes through files, since a container that lives on would hold pipes open.
    pub fn call(&self, args: &[&str]) -> Said {
        finish(&mut self.command(args), &self.dir)
    }

    /// `run` of the configuration as it is: everything that the container said, when it has ended.
    pub fn run(&self) -> Said {
        self.write();
        self.call(&["run", &self.id])
    }

    /// `run` of a script that has to go well: its output.
    ///
    /// # Errors
    /// With everything that was said, when it did not.
    pub fn tell(&mut self, script: &str) -> Result<String, Stop> {
        self.script(script);
        self.run().ok()
    }

    /// `create`.
    pub fn create(&self) -> Said {
        self.write();
        self.call(&["create", &self.id])
    }

    /// `create`, which has to go well.
    ///
    /// # Errors
    /// With everything that was said, when it did not.
    pub fn created(&self) -> Result<&Self, Stop> {
        self.create().ok().map(|_| self)
    }

    /// `create` and `start`, which have to go well.
    ///
    /// # Errors
    /// With everything that was said, when one did not.
    pub fn started(&self) -> Result<&Self, Stop> {
        self.created()?.start().ok().map(|_| self)
    }

    /// `start`.
    pub fn start(&self) -> Said {
        self.call(&["start", &self.id])
    }

    /// `state`, parsed.
    ///
    /// # Errors
    /// When the runtime refuses, or says something that is not JSON.
    pub fn state(&self) -> Result<Value, Stop> {
        let text = self.call(&["state", &self.id]).ok()?;
        serde_json::from_str(&text).map_err(|error| format!("state: {error}: {text}").into())
    }

    /// The status in `state`.
    ///
    /// # Errors
    /// As [`Bundle::state`].
    pub fn status(&self) -> Result<String, Stop> {
        Ok(self.state()?["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The pid in `state`.
    ///
    /// # Errors
    /// As [`Bundle::state`], and when there is none.
    pub fn pid(&self) -> Result<u64, Stop> {
        let state = self.state()?;
        let pid = state["pid"].as_u64().filter(|pid| *pid > 0);
        pid.ok_or_else(|| format!("state without a pid: {state}").into())
    }

    /// `kill`.
    pub fn kill(&self, signal: &str) -> Said {
        self.call(&["kill", &self.id, signal])
    }

    /// `delete`.
    pub fn delete(&self) -> Said {
        self.call(&["delete", &self.id])
    }

    /// Waits until the container has this status.
    ///
    /// # Errors
    /// When it does not get it in time.
    pub fn wait_for(&self, status: &str) -> Result<(), Stop> {
        wait(status, || Ok(self.status()? == status))
    }

    /// Waits until the container's program has written a line to `file` in the root filesystem, and reads it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn appears(&self, file: &str) -> Result<String, Stop> {
        let path = self.rootfs().join(file);
        let text = || fs::read_to_string(&path).unwrap_or_default();
        wait(file, || Ok(text().ends_with('\n')))?;
        Ok(text())
    }

    /// Ends the container, and waits until it is stopped.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self) -> Result<(), Stop> {
        self.kill("KILL").ok()?;
        self.wait_for("stopped")
    }

    /// What the container's program wrote since [`Bundle::create`].
    pub fn said(&self) -> String {
        fs::read_to_string(self.dir.join("create.out")).unwrap_or_default()
    }

    /// The directory that the runtime keeps for this container.
    pub fn state_directory(&self) -> PathBuf {
        self.subject.state.join(&self.id)
    }
}

impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        if self.state_directory().exists() {
            let said = self.call(&["delete", "--force", &self.id]);
            if !said.went_well() {
                eprintln!("{}: {said:?}", self.id);
            }
        }
    }
}

/// Waits until `holds` says yes.
///
/// # Errors
/// What `holds` says, and when it does not say yes in time.
pub fn wait(what: &str, mut holds: impl FnMut() -> Result<bool, Stop>) -> Result<(), Stop> {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(2);
    while !holds()? {
        if Instant::now() > end {
            return Err(format!("waited in vain for {what}").into());
        }
        rest(&mut pause);
    }
    Ok(())
}

/// Sleeps, and longer the next time: who looks too often takes the one CPU of a guest from what is waited for.
fn rest(pause: &mut Duration) {
    std::thread::sleep(*pause);
    *pause = (*pause * 3 / 2).min(Duration::from_millis(50));
}

/// Runs a command to its end, its output in files of `dir` that are named after the command's verb.
pub fn finish(command: &mut Command, dir: &Path) -> Said {
    let verb = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let known = ["run", "create", "start", "exec"];
    let verb = verb.into_iter().find(|arg| known.contains(&arg.as_str()));
    let verb = verb.unwrap_or_else(|| "other".to_owned());
    let (out, err) = (dir.join(format!("{verb}.out")), dir.join(format!("{verb}.err")));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(500);
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if Instant::now() > end => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => rest(&mut pause),
        }
    };
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Said {
        code,
        out: read(&out),
        err: read(&err),
    }
}

/// The configuration that the checks start from: small, and such as every runtime and the place allow.
fn default_config(subject: &Subject, id: &str) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_SETGID",
        "CAP_SETUID"
    ]);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh"], "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}
    });
    if subject.place.rootless {
        let own = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        config["linux"]["uidMappings"] = own(rustix::process::getuid().as_raw());
        config["linux"]["gidMappings"] = own(rustix::process::getgid().as_raw());
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        namespaces
            .unwrap()
            .extend([json!({"type": "user"}), json!({"type": "network"})]);
    } else if subject.place.systemd {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:{}:{id}", subject.mark()));
    } else {
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", subject.mark()));
    }
    config
}
