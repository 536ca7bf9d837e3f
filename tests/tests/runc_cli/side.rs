//! The two programs, each with a bundle and a state directory of its own, and what they say in a form that can be compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};
use serde_json::{Value, json};

use crate::shape;

/// One program in a directory of its own, which it is called in.
pub(crate) struct Side {
    pub(crate) program: PathBuf,
    pub(crate) dir: PathBuf,
    name: String,
}

impl Side {
    fn new(program: PathBuf, parent: &Path, mark: &str, which: &str) -> Self {
        let (dir, name) = (parent.join(which), format!("{mark}-{which}"));
        fs::create_dir(&dir).unwrap();
        let side = Self { program, dir, name };
        busybox_rootfs(&side.dir.join("bundle/rootfs"));
        say(side.command(&["spec", "-b", "bundle"]).env("LANG", "C")).ok();
        side.configure(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["/bin/sleep", "1000"]);
            config["process"]["rlimits"] = json!([]);
            config["root"]["readonly"] = json!(false);
            config["annotations"] = json!({"a": "b"});
            config["linux"]["cgroupsPath"] = json!(format!("/{}", side.name));
        });
        for (file, text) in [
            ("bad.json", "{"),
            ("empty.json", "{}"),
            (
                "bogus.json",
                r#"{"cwd": "/", "args": ["/bin/true"], "user": {}, "capabilities": {"bounding": ["CAP_BOGUS", "CAP_KILL"]}}"#,
            ),
            ("resources.json", r#"{"pids": {"limit": 44}}"#),
            (
                "process.json",
                r#"{"cwd": "/", "args": ["/bin/echo", "hi"], "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}"#,
            ),
        ] {
            fs::write(side.dir.join(file), text).unwrap();
        }
        side
    }

    /// Changes the bundle's configuration.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.join("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    }

    /// A command over the side's state directory, in its directory. It may take a minute.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("timeout"));
        command
            .args(["-k", "1", "60"])
            .arg(&self.program)
            .args(["--root", "root"])
            .args(args);
        command.current_dir(&self.dir);
        command
    }

    /// What a command says. Its streams are files, since a container that it leaves behind keeps them.
    pub(crate) fn call(&self, args: &[&str]) -> Said {
        let (out, err) = (self.dir.join("stdout"), self.dir.join("stderr"));
        let file = |path: &Path| fs::File::create(path).unwrap();
        let mut command = self.command(args);
        command
            .stdin(std::process::Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err));
        let status = command.status().unwrap();
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Said {
            code: status.code().unwrap_or(-1),
            stdout: text(&out),
            stderr: text(&err),
        }
    }

    /// Without names that only this side has, and without numbers.
    fn plain(&self, text: &str) -> String {
        let mut text = text.replace(self.program.to_str().unwrap(), "PROGRAM");
        text = text
            .replace(self.dir.to_str().unwrap(), "DIR")
            .replace(&self.name, "NAME")
            .replace("runc-rs", "runc");
        let mut plain = String::new();
        for character in text.chars() {
            let character = if character.is_ascii_digit() { 'N' } else { character };
            let again = plain.ends_with(character) && (character == 'N' || character == ' ');
            if !again {
                plain.push(character);
            }
        }
        plain
    }

    /// Log lines without their time.
    fn errors(&self, stderr: &str) -> String {
        let lines = stderr.lines().map(|line| match line.strip_prefix("time=\"") {
            Some(rest) => rest.split_once("\" ").map_or(line, |(_, rest)| rest),
            None => line,
        });
        // runc ends one of its messages with a newline.
        let lines: Vec<String> = lines
            .map(|line| without_field(&self.plain(line).replace("\\n\"", "\"")))
            .collect();
        lines.join("\n")
    }

    fn remove(&self) {
        self.call(&["delete", "--force", "c"]);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(&self.name));
        }
    }
}

/// Without the field of config.json, which ours names before what is wrong with it.
fn without_field(line: &str) -> String {
    let Some((before, after)) = line.split_once("failed: ") else {
        return line.to_owned();
    };
    match after.split_once(": ") {
        Some((field, rest))
            if ["process", "root", "linux", "mounts"]
                .iter()
                .any(|name| field.split('.').next() == Some(name)) =>
        {
            format!("{before}failed: {rest}")
        }
        _ => line.to_owned(),
    }
}

/// What a command says, comparably.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Both programs.
pub(crate) struct Pair {
    pub(crate) runc: Side,
    pub(crate) ours: Side,
    before: Option<Snapshot>,
    _dir: tempfile::TempDir,
}

impl Pair {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mark = format!(
            "rccli{}x{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let before = Snapshot::take(&mark);
        let dir = tempfile::Builder::new().prefix(&mark).tempdir().unwrap();
        Self {
            runc: Side::new(peer("runc"), dir.path(), &mark, "a"),
            ours: Side::new(ours("runc-rs"), dir.path(), &mark, "b"),
            before: Some(before),
            _dir: dir,
        }
    }

    /// The same command of both.
    pub(crate) fn both(&self, line: &str) -> (Plain, Plain) {
        let args: Vec<&str> = line
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| word.trim_matches('\''))
            .collect();
        let plain = |side: &Side| {
            let said = side.call(&args);
            let stdout = shape::of(&said.stdout, &args).unwrap_or_else(|| side.plain(&said.stdout));
            Plain {
                code: said.code,
                stdout,
                stderr: side.errors(&said.stderr),
            }
        };
        (plain(&self.runc), plain(&self.ours))
    }

    /// Runs the lines in their order on both sides and compares what they say; `different` has what ours says otherwise, with the reason.
    pub(crate) fn compare(&self, lines: &[&str], different: &[Different]) {
        let mut wrong = Vec::new();
        for line in lines {
            let (runc, ours) = self.both(line);
            let known = different.iter().find(|different| different.line == *line);
            let same = match known {
                None => runc == ours,
                Some(known) => known.is_said_by(&ours) && runc != ours,
            };
            if !same {
                let why = known.map_or("", |known| known.why);
                wrong.push(format!("{line:?} {why}\n  runc: {runc:?}\n  ours: {ours:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Kills the container of both sides and waits until it is seen to be stopped.
    pub(crate) fn kill(&self) {
        for side in [&self.runc, &self.ours] {
            side.call(&["kill", "c", "KILL"]).ok();
            let end = Instant::now() + Duration::from_secs(30);
            while !side.call(&["state", "c"]).stdout.contains("\"stopped\"") {
                assert!(Instant::now() < end, "{} does not stop", side.name);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Removes what is left and looks whether it is gone.
    pub(crate) fn finish(mut self) {
        self.runc.remove();
        self.ours.remove();
        let before = self.before.take();
        drop(self);
        if let Some(before) = before {
            before.assert_unchanged(Duration::from_secs(20));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.before.is_some() {
            self.runc.remove();
            self.ours.remove();
        }
    }
}

/// What ours says otherwise than Debian's runc 1.1, and why.
pub(crate) struct Different {
    pub(crate) line: &'static str,
    pub(crate) code: i32,
    /// Part of what it says on standard error, or on standard output where it succeeds.
    pub(crate) said: &'static str,
    pub(crate) why: &'static str,
}

impl Different {
    fn is_said_by(&self, ours: &Plain) -> bool {
        let said = if ours.code == 0 && ours.stderr.is_empty() {
            &ours.stdout
        } else {
            &ours.stderr
        };
        self.code == ours.code && said.contains(self.said)
    }
}
