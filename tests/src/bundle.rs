//! A tiny root filesystem for the suites that drive runtimes: static busybox and links to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::programs::peer;

/// The names that lead to busybox.
const APPLETS: [&str; 20] = [
    "sh", "sleep", "cat", "ls", "id", "touch", "mkdir", "env", "echo", "grep", "hostname", "ps", "true", "tty", "stty",
    "mount", "dd", "head", "rm", "kill",
];

/// Fills `rootfs` (made when missing).
///
/// # Panics
/// Without busybox-static, or when the files cannot be written.
pub fn busybox_rootfs(rootfs: &Path) {
    for name in ["bin", "tmp", "etc", "proc", "sys", "dev", "run", "var"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    fs::copy(peer("busybox"), rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// With everything it said, when it did not.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a command to its end, with nothing on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn say(command: &mut Command) -> Said {
    let output: Output = command.stdin(std::process::Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
