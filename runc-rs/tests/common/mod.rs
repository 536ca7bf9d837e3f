//! A bundle of a test's own: a busybox root filesystem, a configuration to change, and the real program to run it with.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

pub mod killer;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub mod user;

pub use user::User;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Applets that the tests' scripts call.
const APPLETS: [&str; 31] = [
    "sh", "sleep", "cat", "ls", "mount", "id", "touch", "mkdir", "env", "echo", "stat", "readlink", "grep", "hostname",
    "ps", "true", "false", "tty", "stty", "ip", "rm", "ln", "kill", "umount", "dd", "head", "uname", "ionice", "chrt",
    "awk", "sed",
];

pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub id: String,
    pub config: Value,
    /// Who runs the program: root where nobody is named.
    pub user: Option<User>,
}

pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// The standard output of a command that must have succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a command that must have failed.
    pub fn err(self) -> String {
        assert_ne!(self.code, 0, "stdout: {}", self.stdout);
        self.stderr
    }
}

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_runc-rs"))
}

impl Bundle {
    pub fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("runcrs-test-{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&format!("{id}-")).tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "tmp", "etc", "proc", "sys", "dev"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is not installed");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let config = default_config(&id);
        Self {
            dir,
            id,
            config,
            user: None,
        }
    }

    /// The bundle of an ordinary user, with what such a user can have: a user namespace that maps one id, no cgroup of its own.
    pub fn of_user() -> Self {
        let user = User::new();
        let mut bundle = Self::new();
        let linux = bundle.config["linux"].as_object_mut().unwrap();
        linux.remove("cgroupsPath");
        let map = json!([{"containerID": 0, "hostID": user.uid, "size": 1}]);
        linux.insert("uidMappings".into(), map.clone());
        linux.insert("gidMappings".into(), map);
        bundle.push("/linux/namespaces", json!({"type": "user"}));
        let options = bundle.config.pointer_mut("/mounts/2/options").unwrap();
        options.as_array_mut().unwrap().retain(|option| option != "gid=5");
        user.give(bundle.dir.path());
        bundle.user = Some(user);
        bundle
    }

    /// The user of [`Self::of_user`].
    pub fn owner(&self) -> &User {
        self.user.as_ref().unwrap()
    }

    /// Maps the user's further ids too: 0 is the user, 1 the first of the others.
    pub fn map_range(&mut self) -> &mut Self {
        let (uid, range) = (self.owner().uid, self.owner().range);
        let map = json!([
            {"containerID": 0, "hostID": uid, "size": 1},
            {"containerID": 1, "hostID": range, "size": User::RANGE - 1},
        ]);
        self.set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
    }

    /// Puts the shared libraries of `program` into the root filesystem.
    pub fn add_libraries(&self, program: &Path) {
        let output = Command::new("ldd").arg(program).output().unwrap();
        for word in String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let place = self.rootfs().join(word.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(word, place).unwrap();
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub fn state_root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Sets the field at a JSON pointer; missing objects on the way are made.
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

    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Self {
        self.config
            .pointer_mut(pointer)
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(value);
        self
    }

    pub fn script(&mut self, script: &str) -> &mut Self {
        self.set("/process/args", json!(["/bin/sh", "-c", script]))
    }

    pub fn write_config(&self) {
        fs::write(
            self.dir.path().join("config.json"),
            serde_json::to_vec(&self.config).unwrap(),
        )
        .unwrap();
    }

    /// A command of the program over this bundle's state directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command(user.program()),
            None => Command::new(program()),
        };
        command
            .arg("--root")
            .arg(self.state_root())
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Outcome {
        self.command(args).output().unwrap().into()
    }

    /// `run` of the configuration as it is.
    pub fn run(&self) -> Outcome {
        self.write_config();
        self.call(&["run", &self.id])
    }

    /// `run` of a shell script.
    pub fn run_script(&mut self, script: &str) -> Outcome {
        self.script(script);
        self.run()
    }

    /// `create`. The container keeps its standard streams, so they must not be pipes that we wait for.
    pub fn create(&self) -> Outcome {
        self.write_config();
        let log = self.dir.path().join("create.log");
        let out = fs::File::create(&log).unwrap();
        let status = self
            .command(&["create", &self.id])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr: fs::read_to_string(log).unwrap(),
        }
    }

    pub fn start(&self) -> Outcome {
        self.call(&["start", &self.id])
    }

    /// Created and started, running `sleep`.
    pub fn sleeping(&mut self) -> &mut Self {
        self.set("/process/args", json!(["/bin/sleep", "1000"]));
        self.create().ok();
        self.start().ok();
        self
    }

    pub fn exec(&self, args: &[&str]) -> Outcome {
        let mut all = vec!["exec", self.id.as_str()];
        all.extend(args);
        self.call(&all)
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.call(&["state", &self.id]).ok()).unwrap()
    }

    /// Fails when the container left a mount, a cgroup or a state directory.
    pub fn assert_nothing_left(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.id), "mounts left: {mounts}");
        for entry in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(
                !entry.path().join(&self.id).exists(),
                "cgroup left in {}",
                entry.path().display()
            );
        }
        assert!(!self.state_root().join(&self.id).exists(), "state left");
    }

    /// Puts a record back whose directory is gone.
    pub fn create_record(&self, record: &[u8]) {
        let directory = self.state_root().join(&self.id);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("state.json"), record).unwrap();
    }

    /// Waits until no process carries the container's name any more, in its arguments, its environment or its cgroup.
    pub fn assert_no_process_left(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let left = processes_of(&self.id);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "processes left: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn processes_of(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let (line, stat) = (read("cmdline"), read("stat"));
        let zombie = String::from_utf8_lossy(&stat)
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'));
        let carries = |bytes: &[u8]| bytes.windows(id.len()).any(|part| part == id.as_bytes());
        if pid != std::process::id() && !zombie && (carries(&line) || carries(&read("cgroup"))) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}

fn default_config(id: &str) -> Value {
    let caps = json!([
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_DAC_OVERRIDE",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "hostname": "tester",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        }
    })
}
